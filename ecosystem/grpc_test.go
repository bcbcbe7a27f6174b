package ecosystem

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/interop"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
)

// grpcServer has gRPC's own test service, and is an http.Handler.
func grpcServer(t *testing.T) *grpc.Server {
	t.Helper()
	g := grpc.NewServer()
	t.Cleanup(g.Stop)
	grpc_testing.RegisterTestServiceServer(g, interop.NewTestServer())
	grpc_health_v1.RegisterHealthServer(g, health.NewServer())
	return g
}

func (s *server) dialGRPC() *grpc.ClientConn {
	s.Helper()
	creds := insecure.NewCredentials()
	if s.tls != nil {
		creds = credentials.NewTLS(s.tls)
	}
	_, addr, _ := strings.Cut(s.url, "://")
	cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		s.Fatal(err)
	}
	return cc
}

// These are gRPC's interoperability tests. What fails ends the process, and says so.
func TestGRPCInterop(t *testing.T) {
	t.Parallel()
	each(t, grpcServer(t), func(s *server) {
		s.onlyHTTP2()
		cc := s.dialGRPC()
		defer cc.Close()
		ctx, cancel := context.WithTimeout(s.Context(), patience)
		defer cancel()
		c := grpc_testing.NewTestServiceClient(cc)
		for _, do := range []func(context.Context, grpc_testing.TestServiceClient, ...grpc.CallOption){
			interop.DoEmptyUnaryCall, interop.DoLargeUnaryCall,
			interop.DoClientStreaming, interop.DoServerStreaming, interop.DoPingPong, interop.DoEmptyStream,
			interop.DoTimeoutOnSleepingServer, interop.DoCancelAfterBegin, interop.DoCancelAfterFirstResponse,
			interop.DoCustomMetadata, interop.DoStatusCodeAndMessage, interop.DoSpecialStatusMessage,
		} {
			do(ctx, c)
		}
		interop.DoUnimplementedService(ctx, grpc_testing.NewUnimplementedServiceClient(cc))
		interop.DoUnimplementedMethod(ctx, cc)

		resp, err := grpc_health_v1.NewHealthClient(cc).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil || resp.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			s.Error(resp, err)
		}
	})
}

// Fifty streams share a connection, and one whose client does not read holds up none.
func TestGRPCManyStreams(t *testing.T) {
	t.Parallel()
	each(t, grpcServer(t), func(s *server) {
		s.onlyHTTP2()
		cc := s.dialGRPC()
		defer cc.Close()
		ctx, cancel := context.WithCancel(s.Context())
		defer cancel()
		c := grpc_testing.NewTestServiceClient(cc)
		const size = 50_000
		asked := &grpc_testing.StreamingOutputCallRequest{}
		for range 5 {
			asked.ResponseParameters = append(asked.ResponseParameters, &grpc_testing.ResponseParameters{Size: size})
		}
		if _, err := c.StreamingOutputCall(ctx, asked); err != nil { // and is not read
			s.Error(err)
		}
		results := make(chan error)
		for range 50 {
			go func() {
				results <- func() error {
					stream, err := c.StreamingOutputCall(ctx, asked)
					if err != nil {
						return err
					}
					for n := 0; ; n++ {
						resp, err := stream.Recv()
						switch {
						case err == io.EOF && n == 5: //nolint:errorlint // gRPC returns it as it is
							return nil
						case err != nil:
							return err
						case len(resp.GetPayload().GetBody()) != size:
							return errors.New("short")
						}
					}
				}()
			}()
		}
		for range 50 {
			if err := <-results; err != nil {
				s.Error(err)
			}
		}
	})
}

// talk is a bidirectional stream, on which there is an answer to each message.
type talk struct {
	*server
	grpc_testing.TestService_FullDuplexCallClient
}

func (k talk) exchange() {
	k.Helper()
	err := k.Send(&grpc_testing.StreamingOutputCallRequest{
		ResponseParameters: []*grpc_testing.ResponseParameters{{Size: 7}},
	})
	if err != nil {
		k.Fatal(err)
	}
	if resp, err := k.Recv(); err != nil || len(resp.GetPayload().GetBody()) != 7 {
		k.Fatal(resp, err)
	}
}

// A drain tells the client not to come again, and waits for the stream that it has.
func TestGRPCDrain(t *testing.T) {
	t.Parallel()
	each(t, grpcServer(t), func(s *server) {
		s.onlyHTTP2()
		cc := s.dialGRPC()
		defer cc.Close()
		c := grpc_testing.NewTestServiceClient(cc)
		stream, err := c.FullDuplexCall(s.Context())
		if err != nil {
			s.Fatal(err)
		}
		k := talk{s, stream}
		k.exchange()
		over := s.drain()
		<-s.draining
		k.exchange()
		select {
		case err := <-over:
			s.Fatal("the shutdown is over", err)
		case <-time.After(10 * time.Millisecond):
		}
		// Sooner or later there is no more to be had, which a client can tell from a
		// call that may have been served.
		for err == nil {
			_, err = c.EmptyCall(s.Context(), &grpc_testing.Empty{})
		}
		if status.Code(err) != codes.Unavailable {
			s.Error(err)
		}
		for range 10 {
			k.exchange()
		}
		if err := stream.CloseSend(); err != nil {
			s.Error(err)
		}
		if _, err := stream.Recv(); err != io.EOF { //nolint:errorlint // gRPC returns it as it is
			s.Error(err)
		}
		if err := <-over; err != nil {
			s.Error(err)
		}
	})
}
