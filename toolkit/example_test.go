package toolkit_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
)

// A server from its first line to its exit code. A main function that needs
// nothing in between ends with os.Exit(lifecycle.ExitCode(b.Run())), where b is
// the Builder: that also heeds SIGTERM and Ctrl-C.
func Example() {
	srv, err := toolkit.New().
		Addr("127.0.0.1:0").
		Logger(zerolog.Nop()).
		IdleTimeout(time.Minute).
		DrainTimeout(20*time.Second).
		Get("/hello/{name}", func(ctx *fasthttp.RequestCtx) {
			fmt.Fprintf(ctx, "Hello, %s!", ctx.UserValue("name"))
		}).
		PreExit("database", func(context.Context) error {
			fmt.Println("database closed")
			return nil
		}).
		Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	over := make(chan error)
	go func() { over <- srv.Run(context.Background()) }()
	<-srv.Reached(lifecycle.PhaseReady)

	resp, err := http.Get("http://" + srv.ListenAddrs()[0].String() + "/hello/Ada")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, string(body))

	srv.Drain()
	fmt.Println("exit code", lifecycle.ExitCode(<-over))
	// Output:
	// 200 Hello, Ada!
	// database closed
	// exit code 0
}

// Any http.Handler goes on as it is, in the same life; a native route beside it wins.
func ExampleBuilder_NetHTTP() {
	app := http.NewServeMux()
	app.HandleFunc("GET /items/{id}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "item %s, by net/http", r.PathValue("id"))
	})
	srv, err := toolkit.New().
		Addr("127.0.0.1:0").
		Logger(zerolog.Nop()).
		NetHTTP("/", app).
		Get("/items/hot", func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("the hot item, by fasthttp") }).
		Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	over := make(chan error)
	go func() { over <- srv.Run(context.Background()) }()
	<-srv.Reached(lifecycle.PhaseReady)
	for _, path := range []string{"/items/7", "/items/hot"} {
		resp, err := http.Get("http://" + srv.ListenAddrs()[0].String() + path)
		if err != nil {
			fmt.Println(err)
			break
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		fmt.Println(string(body))
	}
	srv.Drain()
	fmt.Println("drained:", <-over)
	// Output:
	// item 7, by net/http
	// the hot item, by fasthttp
	// drained: <nil>
}

// Middleware of a group is inside that of the groups around it, and all is inside
// what Use adds. Tests need no listener: Handler is all of a server's handling.
func ExampleBuilder_Group() {
	say := func(name string) toolkit.Middleware {
		return func(next fasthttp.RequestHandler) fasthttp.RequestHandler {
			return func(ctx *fasthttp.RequestCtx) {
				fmt.Print(name, " > ")
				next(ctx)
			}
		}
	}
	show := func(ctx *fasthttp.RequestCtx) { fmt.Println(toolkit.Route(ctx)) }

	srv, err := toolkit.New().
		Addr("127.0.0.1:0").
		Logger(zerolog.Nop()).
		Use(say("all")).
		Get("/", show).
		Group("/api", func(api *toolkit.Group) {
			api.Use(say("api"))
			api.Get("/status", show)
			api.Group("/admin", func(admin *toolkit.Group) {
				admin.Use(say("admin"))
				admin.Get("/users/{id}", show)
			})
		}).
		Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, path := range []string{"/", "/api/status", "/api/admin/users/7"} {
		var req fasthttp.Request
		req.SetRequestURI(path)
		var ctx fasthttp.RequestCtx
		ctx.Init(&req, nil, nil)
		srv.Handler()(&ctx)
	}
	// Output:
	// all > /
	// all > api > /api/status
	// all > api > admin > /api/admin/users/{id}
}

// Start hooks run in the order in which they were added, exit hooks in the
// opposite one: what was opened last is closed first. A hook may add further ones.
func ExampleBuilder_PreExit() {
	say := func(text string) lifecycle.HookFunc {
		return func(context.Context) error {
			fmt.Println(text)
			return nil
		}
	}
	srv, err := toolkit.New().
		Addr("127.0.0.1:0").
		Logger(zerolog.Nop()).
		OnStart("database", say("open the database")).
		OnStart("cache", say("fill the cache")).
		OnDrain("registry", say("leave the registry")).
		PreExit("database", say("close the database")).
		PreExit("queue", say("flush the queue")).
		Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	srv.PreExit("metrics", func(context.Context) error {
		fmt.Println("send the metrics")
		srv.PreExit("receipt", say("wait for the receipt"))
		return nil
	})
	go func() {
		<-srv.Reached(lifecycle.PhaseReady)
		srv.Drain()
	}()
	fmt.Println(srv.Run(context.Background()))
	// Output:
	// open the database
	// fill the cache
	// leave the registry
	// send the metrics
	// wait for the receipt
	// flush the queue
	// close the database
	// <nil>
}

// Any goroutine may end the server, and wait for its end as long as it likes to.
func ExampleServer_shutdown() {
	srv, err := toolkit.New().Addr("127.0.0.1:0").Logger(zerolog.Nop()).Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	waited := make(chan error)
	go func() {
		<-srv.Reached(lifecycle.PhaseReady)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		waited <- srv.ShutdownWithContext(ctx)
	}()

	fmt.Println("Run:", srv.Run(context.Background()))
	fmt.Println("ShutdownWithContext:", <-waited)
	fmt.Println("because of:", srv.Report().Cause)
	// Output:
	// Run: <nil>
	// ShutdownWithContext: <nil>
	// because of: ShutdownWithContext
}

// A hijack handler, as that of a WebSocket, runs when its request is over: a panic there
// ends its connection and is logged, but ends the process without Catch.
func ExampleCatch() {
	upgrader := websocket.FastHTTPUpgrader{}
	echo := func(ctx *fasthttp.RequestCtx) {
		catch := toolkit.Catch(ctx)
		err := upgrader.Upgrade(ctx, func(c *websocket.Conn) {
			defer catch()
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
	_, err := toolkit.New().Addr(":8080").Get("/echo", echo).Build()
	fmt.Println(err)
	// Output: <nil>
}

// Where a query fails in the middle, its client can tell: the body has no end.
func ExampleStream() {
	export := func(ctx *fasthttp.RequestCtx) {
		var rows *sql.Rows // of a query
		toolkit.Stream(ctx, func(w *bufio.Writer) error {
			defer rows.Close()
			for rows.Next() {
				var line string
				if err := rows.Scan(&line); err != nil {
					return err
				}
				fmt.Fprintln(w, line)
			}
			return rows.Err()
		})
	}
	_, err := toolkit.New().Addr(":8080").Get("/export", export).Build()
	fmt.Println(err)
	// Output: <nil>
}

// Build finds all mistakes at once, and names the calls that made them.
func ExampleBuilder_Build() {
	_, err := toolkit.New().
		Addr("127.0.0.1:80800").
		IdleTimeout(-time.Second).
		Build()
	fmt.Println(err)
	// Output:
	// toolkit: IdleTimeout(-1s): negative
	// toolkit: Addr("127.0.0.1:80800"): address 80800: invalid port
}
