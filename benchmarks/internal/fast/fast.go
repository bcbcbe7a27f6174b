// Package fast is the fasthttp server that contenders serve bare or within
// lifecycle: the same handler, the same settings.
package fast

import (
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/benchmarks/internal/contract"
)

// Server is a fasthttp.Server with the time limits that its documentation asks
// for, and without the header Server, which not every contender sends.
func Server(o contract.Options) *fasthttp.Server {
	return &fasthttp.Server{
		Handler:               handler(o),
		ReadTimeout:           contract.ReadTimeout,
		WriteTimeout:          contract.WriteTimeout,
		IdleTimeout:           contract.IdleTimeout,
		NoDefaultServerHeader: true,
	}
}

// handler has no router: nothing that serves less can be compared with.
func handler(o contract.Options) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		switch string(ctx.Path()) {
		case contract.Plain13.Path:
			send(ctx, contract.Plain13.Body)
		case contract.Plain1k.Path:
			send(ctx, contract.Plain1k.Body)
		case contract.Plain16k.Path:
			send(ctx, contract.Plain16k.Body)
		case contract.Plain64k.Path:
			send(ctx, contract.Plain64k.Body)
		case contract.Upload:
			Upload(ctx)
		case contract.File:
			ctx.SendFile(o.File)
		case contract.Slow:
			Slow(ctx)
		default:
			ctx.SetStatusCode(fasthttp.StatusNotFound)
		}
	}
}

// Page answers with a page's body, which is not copied.
func Page(p contract.Page) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) { send(ctx, p.Body) }
}

// Upload answers with the body's length.
func Upload(ctx *fasthttp.RequestCtx) {
	send(ctx, contract.Length(len(ctx.PostBody())))
}

// Slow takes its time.
func Slow(ctx *fasthttp.RequestCtx) {
	time.Sleep(contract.SlowTime)
	send(ctx, contract.SlowBody)
}

func send(ctx *fasthttp.RequestCtx, body []byte) {
	ctx.SetContentType(contract.ContentType)
	ctx.Response.SetBodyRaw(body)
}
