package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
	"github.com/lastcall-go/lastcall/toolkit/debug"
	"github.com/lastcall-go/lastcall/toolkit/metrics"
)

// livePage is where a browser sees the server's life.
const livePage = "/debug/lastcall"

// routes mounts the endpoints.
func routes(b *toolkit.Builder) {
	b.With(metrics.At("/metrics"), debug.At(livePage)).
		Get("/hello", hello).
		Get("/test", hello).
		Get("/end", end).
		Get("/slow", slow).
		Post("/echo", echo).
		Get("/stream", stream).
		Get("/events", events).
		Get("/bytes", sendZeros).
		Get("/ws", ws).
		Get("/panic", func(*fasthttp.RequestCtx) { panic("on purpose") }).
		Get("/conns", conns)
}

func hello(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("Hello World!") }

// end begins the drain. Its own response is still delivered.
func end(ctx *fasthttp.RequestCtx) {
	toolkit.FromRequest(ctx).Drain()
	ctx.SetBodyString("Closedown")
}

// slow takes its time, unless its client goes, or the drain's deadline comes.
func slow(ctx *fasthttp.RequestCtx) {
	ms, ok := number(ctx, "ms", 1000)
	if !ok {
		return
	}
	client := toolkit.ClientContext(ctx)
	select {
	case <-time.After(time.Duration(ms) * time.Millisecond):
		ctx.SetBodyString("done")
	case <-client.Done():
		if errors.Is(context.Cause(client), lifecycle.ErrClientGone) {
			log := toolkit.Logger(ctx)
			log.Info().Msg("the client has gone")
			return
		}
		ctx.Error("the server is going down", fasthttp.StatusServiceUnavailable)
	}
}

func echo(ctx *fasthttp.RequestCtx) {
	ctx.SetContentTypeBytes(ctx.Request.Header.ContentType())
	ctx.SetBody(ctx.PostBody())
}

// streamMargin is how long before the drain's deadline a stream comes to its end.
const streamMargin = 500 * time.Millisecond

// stream sends n chunks, ms apart. If the server drains it goes on, as there may
// be time enough, but ends before the deadline does it.
func stream(ctx *fasthttp.RequestCtx) {
	n, ok := number(ctx, "n", 10)
	if !ok {
		return
	}
	ms, ok := number(ctx, "ms", 1000)
	if !ok {
		return
	}
	srv := toolkit.FromRequest(ctx)
	ctx.SetContentType("text/plain; charset=utf-8")
	toolkit.Stream(ctx, func(w *bufio.Writer) error {
		draining, nearEnd := srv.Draining(), (<-chan time.Time)(nil)
		for i := 1; i <= n; i++ {
			fmt.Fprintf(w, "chunk %d of %d\n", i, n)
			if err := w.Flush(); err != nil {
				return err // the client has gone
			}
			next := time.After(time.Duration(ms) * time.Millisecond)
			for waiting := i < n; waiting; {
				select {
				case <-next:
					waiting = false
				case <-draining:
					draining = nil
					if deadline, ok := srv.DrainDeadline(); ok {
						nearEnd = time.After(time.Until(deadline.Add(-streamMargin)))
					}
				case <-nearEnd:
					endEarly(w, i, n)
					return nil
				case <-srv.Context().Done(): // by a second signal
					endEarly(w, i, n)
					return nil
				}
			}
		}
		return nil
	})
}

// zeros is what /bytes sends of.
var zeros [1_000_000]byte

// sendZeros sends n bytes. A client that takes its time for them is cut.
func sendZeros(ctx *fasthttp.RequestCtx) {
	if n, ok := number(ctx, "n", len(zeros)); ok {
		ctx.SetContentType("application/octet-stream")
		ctx.Response.SetBodyRaw(zeros[:n])
	}
}

// endEarly says that the stream is not whole, which it is to HTTP.
func endEarly(w *bufio.Writer, i, n int) {
	fmt.Fprintf(w, "ended early, after chunk %d of %d: the server is going down\n", i, n)
}

// events sends an event a second until the client goes or the server drains.
func events(ctx *fasthttp.RequestCtx) {
	srv := toolkit.FromRequest(ctx)
	ctx.SetContentType("text/event-stream")
	ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-cache")
	toolkit.Stream(ctx, func(w *bufio.Writer) error {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for n := 1; ; n++ {
			fmt.Fprintf(w, "event: tick\ndata: %d\n\n", n)
			if err := w.Flush(); err != nil {
				return err // the client has gone
			}
			select {
			case <-tick.C:
			case <-srv.Draining():
				fmt.Fprint(w, "event: drain\ndata: the server is going down\n\n")
				return nil
			}
		}
	})
}

var upgrader websocket.FastHTTPUpgrader

// wsFarewell is how long a WebSocket client has to answer a close frame.
const wsFarewell = time.Second

// ws echoes messages. When the server drains, the client gets a close frame that
// says so, and has a moment to answer it.
func ws(ctx *fasthttp.RequestCtx) {
	srv, catch := toolkit.FromRequest(ctx), toolkit.Catch(ctx)
	err := upgrader.Upgrade(ctx, func(c *websocket.Conn) {
		defer catch()
		over := make(chan struct{})
		var farewell sync.WaitGroup
		defer farewell.Wait() // the connection must not be used after the handler
		defer close(over)
		farewell.Go(func() {
			select {
			case <-srv.Draining():
				text := websocket.FormatCloseMessage(websocket.CloseGoingAway, "the server is going down")
				_ = c.WriteControl(websocket.CloseMessage, text, time.Now().Add(wsFarewell))
				_ = c.SetReadDeadline(time.Now().Add(wsFarewell))
			case <-over:
			}
		})
		for {
			kind, message, err := c.ReadMessage()
			if err != nil || c.WriteMessage(kind, message) != nil {
				return
			}
		}
	})
	if err != nil {
		log := toolkit.Logger(ctx)
		log.Info().Err(err).Msg("no WebSocket") // Upgrade has answered
	}
}

// conns answers with the connection table.
func conns(ctx *fasthttp.RequestCtx) {
	srv := toolkit.FromRequest(ctx)
	ctx.SetContentType("application/json")
	enc := json.NewEncoder(ctx)
	enc.SetIndent("", "  ")
	_ = enc.Encode(map[string]any{"phase": srv.Phase(), "counts": srv.Counts(), "conns": srv.Conns()})
}

// number reads a query argument from 0 to a million. If it is not one, the answer
// is a 400.
func number(ctx *fasthttp.RequestCtx, name string, def int) (int, bool) {
	arg := ctx.QueryArgs().Peek(name)
	if len(arg) == 0 {
		return def, true
	}
	n, err := strconv.Atoi(string(arg))
	if err != nil || n < 0 || n > 1_000_000 {
		ctx.Error(fmt.Sprintf("%s=%q: want a number from 0 to 1000000", name, arg), fasthttp.StatusBadRequest)
		return 0, false
	}
	return n, true
}
