// The contender fiber: one process (Prefork is for several), its time limits set,
// the listing at the start off, and its own shutdown.
package main

import (
	"log"
	"time"

	"github.com/gofiber/fiber/v3"

	"github.com/lastcall-go/lastcall/benchmarks/internal/contract"
)

func main() {
	o := contract.Flags()
	terminated := contract.Terminated()
	app := fiber.New(fiber.Config{
		ReadTimeout:  contract.ReadTimeout,
		WriteTimeout: contract.WriteTimeout,
		IdleTimeout:  contract.IdleTimeout,
	})
	for _, p := range contract.Plain {
		app.Get(p.Path, func(c fiber.Ctx) error { return send(c, p.Body) })
	}
	app.Post(contract.Upload, func(c fiber.Ctx) error { return send(c, contract.Length(len(c.Body()))) })
	app.Get(contract.File, func(c fiber.Ctx) error { return c.SendFile(o.File) })
	app.Get(contract.Slow, func(c fiber.Ctx) error {
		time.Sleep(contract.SlowTime)
		return send(c, contract.SlowBody)
	})
	go func() {
		err := app.Listen(o.Addr, fiber.ListenConfig{
			CertFile:              o.Cert,
			CertKeyFile:           o.Key,
			DisableStartupMessage: true,
		})
		if err != nil {
			log.Fatal(err)
		}
	}()
	<-terminated.Done()
	if err := app.ShutdownWithTimeout(contract.ShutdownTimeout); err != nil {
		log.Print(err)
	}
}

func send(c fiber.Ctx, body []byte) error {
	c.Set(fiber.HeaderContentType, contract.ContentType)
	return c.Send(body)
}
