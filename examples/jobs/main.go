// A server that answers before the work is done: what it has accepted it does, also
// when it is going down, or it says what it has not.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
	"github.com/lastcall-go/lastcall/toolkit"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "`address` to listen on")
	took := flag.Duration("took", 500*time.Millisecond, "how long a job takes")
	drain := flag.Duration("drain-timeout", 10*time.Second, "how long those under way may take")
	flag.Parse()
	j := &jobs{took: *took, slots: make(chan struct{}, atATime)}
	err := toolkit.New().
		Addr(*addr).
		DrainTimeout(*drain).
		AccessLog(false).
		Post("/jobs", j.accept).
		PreExit("hand over", j.handOver). // runs when nothing is under way any more
		Run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "jobs:", err)
	}
	os.Exit(lifecycle.ExitCode(err))
}

// atATime is how many jobs are done at the same time.
const atATime = 4

type jobs struct {
	took  time.Duration
	slots chan struct{}

	mu   sync.Mutex // guards left
	left []string
}

// accept starts a job and answers at once. The drain awaits what Go has started as it
// awaits requests; the answer can only be read once the job is known to it.
func (j *jobs) accept(ctx *fasthttp.RequestCtx) {
	name := string(ctx.PostBody()) // a copy: the body is another request's later
	toolkit.FromRequest(ctx).Go("job "+name, func(ctx context.Context) {
		if err := j.do(ctx, name); err != nil {
			j.mu.Lock()
			defer j.mu.Unlock()
			j.left = append(j.left, name)
		}
	})
	ctx.SetStatusCode(fasthttp.StatusAccepted)
}

// do waits for its turn, and works. ctx ends at the drain's deadline.
func (j *jobs) do(ctx context.Context, name string) error {
	select {
	case j.slots <- struct{}{}:
		defer func() { <-j.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-time.After(j.took):
		fmt.Println("done:", name)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// handOver is where a real server would put them back into its queue.
func (j *jobs) handOver(context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.left) > 0 {
		fmt.Println("left:", strings.Join(j.left, " "))
	}
	return nil
}
