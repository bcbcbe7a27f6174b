// Package toolkit builds a fasthttp server in a page: a router, health endpoints,
// middleware and a log around the life that package lifecycle gives it.
//
//	err := toolkit.New().
//		Addr(":8080").
//		DrainTimeout(20 * time.Second).
//		Get("/hello/{name}", hello).
//		ReadyCheck("database", db.PingContext).
//		PreExit("database", closeDB).
//		Run()
//	os.Exit(lifecycle.ExitCode(err))
//
// The methods of Builder only record. Build checks everything at once and returns
// all mistakes together, each naming the call that made it; Run builds, and runs
// the server until SIGTERM or SIGINT has drained it.
//
// A server with no option set may face the internet: reading a header, a body, an
// idle connection and a client that does not read its response all have their
// time limits, what is sent and taken has a least rate, and sizes are bounded. The
// constants give them with their reasons.
//
// Around every handler are, outermost first:
//
//	RequestID(observers(AccessLog(Strict(Recover(MaxInFlight(m1(m2(routes))))))))
//
// What not every server needs is in packages of its own, which With adds: a live page
// (debug), metrics, traces (otel), profiles. Probe is for endpoints of that kind, LocalOnly keeps others
// away from them.
//
// Use takes middleware: an application's own, and Timeout, Compress, CORS, SecurityHeaders,
// ETag and LimitInFlight, in an order that Middleware tells of. Static and StaticFS serve
// files.
//
// NetHTTP mounts net/http handlers, which are served by a real http.Server in the same
// life; see package nethttp.
//
// Behind proxies, ClientIP is the client's address: TrustedProxies and ProxyProtocol
// say whose word is taken for it.
//
// While it drains, the server logs once a second what it still awaits. Console is a log for
// people, with a drain's progress on a terminal.
//
// The request id is the one that came in X-Request-ID, if it is sane, else 128
// random bits; it is in the response and in the log's lines. The access log has a
// line for each request, those too that fasthttp could not read, or would not: they have
// no id, and reach no handler. Strict refuses what others may have read differently. Of
// who is refused the line says why, as "refused". A panic is a 500 and a line with its
// stack, or a line alone, wherever the server calls a user's code: handlers,
// middleware, hooks, checks, the callbacks of fasthttp.Server (not those of TLSConfig).
// Where something else calls it, in a goroutine of its own, a panic ends the process,
// as everywhere in Go: there, Stream takes the place of fasthttp's body stream writers,
// Recover goes around the handler of a fasthttp.TimeoutHandler, and hijack handlers,
// those of WebSockets and a handler's own goroutines defer what Catch returns. With a
// logger that is disabled a request allocates nothing.
package toolkit
