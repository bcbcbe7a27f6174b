package debug_test

import (
	"fmt"

	"github.com/lastcall-go/lastcall/toolkit"
	"github.com/lastcall-go/lastcall/toolkit/debug"
)

func ExampleAt() {
	_, err := toolkit.New().
		Addr("127.0.0.1:8080").
		With(debug.At("/debug/lastcall")). // http://127.0.0.1:8080/debug/lastcall
		Build()
	fmt.Println(err)
	// Output: <nil>
}
