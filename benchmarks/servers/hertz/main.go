// The contender hertz: on netpoll, its default network, or for TLS on the
// standard one, as netpoll speaks none; its time limits set, its log of
// connections that clients close off, and its own shutdown, by Spin.
package main

import (
	"context"
	"crypto/tls"
	"log"
	"time"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/app/server"
	"github.com/cloudwego/hertz/pkg/common/config"
	"github.com/cloudwego/hertz/pkg/common/hlog"
	"github.com/cloudwego/hertz/pkg/network/standard"
	"github.com/cloudwego/hertz/pkg/protocol/consts"

	"github.com/lastcall-go/lastcall/benchmarks/internal/contract"
)

func main() {
	o := contract.Flags()
	hlog.SetLevel(hlog.LevelFatal)
	options := []config.Option{
		server.WithHostPorts(o.Addr),
		server.WithReadTimeout(contract.ReadTimeout),
		server.WithWriteTimeout(contract.WriteTimeout),
		server.WithIdleTimeout(contract.IdleTimeout),
		server.WithKeepAliveTimeout(contract.IdleTimeout),
		server.WithExitWaitTime(contract.ShutdownTimeout),
		server.WithDisablePrintRoute(true),
		{F: func(o *config.Options) { o.NoDefaultServerHeader = true }},
	}
	if o.TLS() {
		cert, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			log.Fatal(err)
		}
		options = append(options,
			server.WithTransport(standard.NewTransporter),
			server.WithTLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}))
	}
	h := server.New(options...)
	for _, p := range contract.Plain {
		h.GET(p.Path, func(_ context.Context, c *app.RequestContext) { send(c, p.Body) })
	}
	h.POST(contract.Upload, func(_ context.Context, c *app.RequestContext) {
		send(c, contract.Length(len(c.Request.Body())))
	})
	h.GET(contract.File, func(_ context.Context, c *app.RequestContext) { c.File(o.File) })
	h.GET(contract.Slow, func(_ context.Context, c *app.RequestContext) {
		time.Sleep(contract.SlowTime)
		send(c, contract.SlowBody)
	})
	h.Spin()
}

// send does not copy the body; c.Data would.
func send(c *app.RequestContext, body []byte) {
	c.SetStatusCode(consts.StatusOK)
	c.SetContentType(contract.ContentType)
	c.Response.SetBodyRaw(body)
}
