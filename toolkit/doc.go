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
//	RequestID(AccessLog(Recover(m1(m2(routes)))))
//
// The request id is the one that came in X-Request-ID, if it is sane, else 128
// random bits; it is in the response and in the log's lines. The access log has a
// line for each request whose handler ran. A panic is a 500 and a line with its
// stack; but not one in a goroutine of the handler's, or of fasthttp's, as those
// of fasthttp.TimeoutHandler, body stream writers and hijack handlers are: there,
// it ends the process, as everywhere in Go. With a logger that is disabled a
// request allocates nothing.
package toolkit
