package rehearsal_test

import (
	"fmt"
	"time"

	"github.com/lastcall-go/lastcall/lifecycle/rehearsal"
)

// A server is a program of its own; clients of several kinds call it while it goes
// down, each kind where it is served.
func Example() {
	server := rehearsal.Command("./myserver", "-addr", "127.0.0.1:8080")
	result, err := rehearsal.Plan{
		Start: server.At("127.0.0.1:8080"),
		Path:  "/echo",
		Clients: []rehearsal.Clients{
			{Kind: rehearsal.KeepAlive, Count: 64, Pause: 5 * time.Millisecond, Body: 10},
			{Kind: rehearsal.Fresh, Count: 8},
			{Kind: rehearsal.Idle, Count: 10_000},
			{Kind: rehearsal.Streaming, Count: 16, Path: "/events"},
			{Kind: rehearsal.WebSocket, Count: 16, Path: "/ws", Body: 5, Pause: 10 * time.Millisecond},
			{Kind: rehearsal.Half, Count: 1},
		},
		Rounds: 20,
	}.Rehearse()
	if err != nil {
		fmt.Println("could not be rehearsed:", err)
		return
	}
	fmt.Println(result) // or json.Marshal(result)
}
