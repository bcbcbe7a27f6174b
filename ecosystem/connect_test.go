package ecosystem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type (
	text     = wrapperspb.StringValue
	connText = connect.Request[text]
)

// connectApp is a service such as protoc-gen-connect-go makes the frame of.
func connectApp(draining <-chan struct{}) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/t.Test/Say", connect.NewUnaryHandler("/t.Test/Say", func(_ context.Context, r *connText) (*connect.Response[text], error) {
		if r.Msg.GetValue() == "fail" {
			err := connect.NewError(connect.CodeFailedPrecondition, errors.New("not today"))
			err.Meta().Set("X-Why", "holiday")
			if detail, failed := connect.NewErrorDetail(durationpb.New(time.Hour)); failed == nil {
				err.AddDetail(detail)
			}
			return nil, err
		}
		resp := connect.NewResponse(wrapperspb.String(r.Header().Get("X-Name") + ": " + r.Msg.GetValue()))
		resp.Header().Set("X-Header", "h")
		resp.Trailer().Set("X-Trailer", "t")
		return resp, nil
	}, connect.WithIdempotency(connect.IdempotencyNoSideEffects)))
	mux.Handle("/t.Test/Wait", connect.NewUnaryHandler("/t.Test/Wait", func(ctx context.Context, _ *connText) (*connect.Response[text], error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}))
	mux.Handle("/t.Test/Count", connect.NewServerStreamHandler("/t.Test/Count", func(ctx context.Context, r *connText, stream *connect.ServerStream[text]) error {
		for i := range 3 {
			if err := stream.Send(wrapperspb.String(fmt.Sprint(r.Msg.GetValue(), i))); err != nil {
				return err
			}
		}
		if r.Msg.GetValue() == "until" {
			select {
			case <-draining:
				return stream.Send(wrapperspb.String("drain"))
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		stream.ResponseTrailer().Set("X-Trailer", "t")
		return nil
	}))
	mux.Handle("/t.Test/Join", connect.NewClientStreamHandler("/t.Test/Join", func(_ context.Context, stream *connect.ClientStream[text]) (*connect.Response[text], error) {
		var all strings.Builder
		for stream.Receive() {
			all.WriteString(stream.Msg().GetValue())
		}
		return connect.NewResponse(wrapperspb.String(all.String())), stream.Err()
	}))
	mux.Handle("/t.Test/Echo", connect.NewBidiStreamHandler("/t.Test/Echo", func(_ context.Context, stream *connect.BidiStream[text, text]) error {
		for {
			msg, err := stream.Receive()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err == nil {
				err = stream.Send(msg)
			}
			if err != nil {
				return err
			}
		}
	}))
	return mux
}

// rpc is what a client calls, in one of Connect's three protocols.
type rpc struct {
	*server
	options []connect.ClientOption
}

func (r rpc) client(method string) *connect.Client[text, text] {
	return connect.NewClient[text, text](r.server.client, r.url+"/t.Test/"+method, r.options...)
}

// eachRPC runs a test in each protocol, on each server that it can be spoken with.
func eachRPC(t *testing.T, test func(rpc)) {
	for name, options := range map[string][]connect.ClientOption{
		"Connect":        nil,
		"Connect, JSON":  {connect.WithProtoJSON()},
		"Connect, gzip":  {connect.WithSendGzip(), connect.WithHTTPGet()},
		"gRPC":           {connect.WithGRPC()},
		"gRPC-Web, gzip": {connect.WithGRPCWeb(), connect.WithSendGzip()},
	} {
		t.Run(name, func(t *testing.T) {
			eachDraining(t, connectApp, func(s *server) {
				if name == "gRPC" {
					s.onlyHTTP2()
				}
				test(rpc{s, options})
			})
		})
	}
}

func TestConnect(t *testing.T) {
	t.Parallel()
	eachRPC(t, func(r rpc) {
		ask := connect.NewRequest(wrapperspb.String("hello"))
		ask.Header().Set("X-Name", "me")
		got, err := r.client("Say").CallUnary(r.Context(), ask)
		if err != nil {
			r.Fatal(err)
		}
		if got.Msg.GetValue() != "me: hello" || got.Header().Get("X-Header") != "h" || got.Trailer().Get("X-Trailer") != "t" {
			r.Error(got.Msg, got.Header(), got.Trailer())
		}
		large := strings.Repeat("x", 1<<17)
		got, err = r.client("Say").CallUnary(r.Context(), connect.NewRequest(wrapperspb.String(large)))
		if err != nil || got.Msg.GetValue() != ": "+large {
			r.Error(err)
		}

		_, err = r.client("Say").CallUnary(r.Context(), connect.NewRequest(wrapperspb.String("fail")))
		failed, ok := errors.AsType[*connect.Error](err)
		if !ok || failed.Code() != connect.CodeFailedPrecondition || failed.Message() != "not today" ||
			failed.Meta().Get("X-Why") != "holiday" || len(failed.Details()) != 1 {
			r.Error(err)
		}
		_, err = r.client("None").CallUnary(r.Context(), ask)
		if code := connect.CodeOf(err); code != connect.CodeUnimplemented {
			r.Error(err)
		}
		ctx, cancel := context.WithTimeout(r.Context(), 50*time.Millisecond)
		defer cancel()
		_, err = r.client("Wait").CallUnary(ctx, connect.NewRequest(wrapperspb.String("")))
		if code := connect.CodeOf(err); code != connect.CodeDeadlineExceeded {
			r.Error(err)
		}
	})
}

func TestConnectStreams(t *testing.T) {
	t.Parallel()
	eachRPC(t, func(r rpc) {
		counted, err := r.client("Count").CallServerStream(r.Context(), connect.NewRequest(wrapperspb.String("n")))
		if err != nil {
			r.Fatal(err)
		}
		all := ""
		for counted.Receive() {
			all += counted.Msg().GetValue()
		}
		if all != "n0n1n2" || counted.Err() != nil || counted.ResponseTrailer().Get("X-Trailer") != "t" {
			r.Error(all, counted.Err(), counted.ResponseTrailer())
		}
		_ = counted.Close()

		join := r.client("Join").CallClientStream(r.Context())
		for range 3 {
			if err := join.Send(wrapperspb.String("ab")); err != nil {
				r.Error(err)
			}
		}
		joined, err := join.CloseAndReceive()
		if err != nil || joined.Msg.GetValue() != "ababab" {
			r.Error(joined, err)
		}

		if !r.protocol.http2 {
			return
		}
		echo := r.client("Echo").CallBidiStream(r.Context())
		for i := range 10 {
			want := fmt.Sprint(i)
			if err := echo.Send(wrapperspb.String(want)); err != nil {
				r.Fatal(err)
			}
			if got, err := echo.Receive(); err != nil || got.GetValue() != want {
				r.Fatal(got, err)
			}
		}
		_ = echo.CloseRequest()
		if _, err := echo.Receive(); !errors.Is(err, io.EOF) {
			r.Error(err)
		}
		_ = echo.CloseResponse()
	})
}

// A stream is told of the drain, and what it then says arrives.
func TestConnectDrain(t *testing.T) {
	t.Parallel()
	eachRPC(t, func(r rpc) {
		stream, err := r.client("Count").CallServerStream(r.Context(), connect.NewRequest(wrapperspb.String("until")))
		if err != nil {
			r.Fatal(err)
		}
		for range 3 {
			if !stream.Receive() {
				r.Fatal(stream.Err())
			}
		}
		over := r.drain()
		if !stream.Receive() || stream.Msg().GetValue() != "drain" || stream.Receive() || stream.Err() != nil {
			r.Error(stream.Msg(), stream.Err())
		}
		_ = stream.Close()
		if err := <-over; err != nil {
			r.Error(err)
		}
	})
}
