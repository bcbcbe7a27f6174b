package metrics

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/toolkit"
)

// At serves the metrics of the server, of Go and of the process at path, from a registry
// of its own, to whoever asks. It is a toolkit.Builder.Probe, and is served during the
// drain too.
func At(path string) toolkit.Extension {
	return func(b *toolkit.Builder) error {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("metrics.At(%q): a path begins with a slash", path)
		}
		registry := prometheus.NewRegistry()
		registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		b.Probe(path, Handler(registry))
		return Into(registry)(b)
	}
}

// Into registers the metrics of the server, and serves them nowhere: see Handler. They stay
// registered when the server has come to its end. Of two servers with one registry, one
// has to be told apart by a prometheus.WrapRegistererWith.
func Into(registry prometheus.Registerer) toolkit.Extension {
	return func(b *toolkit.Builder) error {
		if registry == nil {
			return errors.New("metrics.Into(nil)")
		}
		r := newRequests()
		b.Observe(toolkit.Observer{Native: r.native, Net: r.net})
		b.Configure(r.countUnread)
		b.OnBuild(func(s *toolkit.Server) error {
			if err := registry.Register(&collector{server: s, requests: r}); err != nil {
				return fmt.Errorf("metrics.Into: %w", err)
			}
			return nil
		})
		return nil
	}
}

// Handler serves what is gathered, as text or in Prometheus' protocol buffers, compressed
// for those who take that. If anything cannot be gathered it answers with a 500, as
// promhttp does.
func Handler(from prometheus.Gatherer) fasthttp.RequestHandler {
	return fasthttp.CompressHandlerLevel(func(ctx *fasthttp.RequestCtx) {
		families, err := from.Gather()
		if err != nil {
			fail(ctx, err)
			return
		}
		accept := http.Header{"Accept": {string(ctx.Request.Header.Peek(fasthttp.HeaderAccept))}}
		format := expfmt.NegotiateAccept(accept, expfmt.DefaultAcceptedFormats()...)
		ctx.SetContentType(string(format))
		ctx.Response.Header.Add(fasthttp.HeaderVary, fasthttp.HeaderAccept)
		encoder := expfmt.NewEncoder(ctx, format)
		for _, family := range families {
			if err := encoder.Encode(family); err != nil {
				fail(ctx, err)
				return
			}
		}
	}, fasthttp.CompressBestSpeed)
}

func fail(ctx *fasthttp.RequestCtx, err error) {
	log := toolkit.Logger(ctx)
	log.Error().Err(err).Msg("metrics failed")
	ctx.Error("metrics failed: "+err.Error(), fasthttp.StatusInternalServerError)
}
