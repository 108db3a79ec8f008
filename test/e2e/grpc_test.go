package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"gatebook/internal/api/client"
	"gatebook/internal/server"
	"gatebook/test/lab"
)

// echoService has a call of each kind: Say once, and Chat both ways; what a caller says is sent back.
func echoService(said *atomic.Int64) *grpc.ServiceDesc {
	say := func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := &wrapperspb.StringValue{}
		if err := dec(in); err != nil {
			return nil, err
		}
		said.Add(1)
		md, _ := metadata.FromIncomingContext(ctx)
		if err := grpc.SetHeader(ctx, metadata.Pairs("seen-authorization", strings.Join(md["authorization"], ","))); err != nil {
			return nil, err
		}
		if in.Value == "fail" {
			return nil, status.Error(codes.NotFound, "there is no "+lab.UpstreamToken)
		}
		return in, nil
	}
	chat := func(_ any, s grpc.ServerStream) error {
		for {
			in := &wrapperspb.StringValue{}
			if err := s.RecvMsg(in); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			if err := s.SendMsg(wrapperspb.String("you said " + in.Value)); err != nil {
				return err
			}
		}
	}
	return &grpc.ServiceDesc{ServiceName: "lab.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Say", Handler: say}, {MethodName: "Wipe", Handler: say}, {MethodName: "Never", Handler: say}},
		Streams: []grpc.StreamDesc{{StreamName: "Chat", Handler: chat, ServerStreams: true, ClientStreams: true}}}
}

// TestGRPC has a server and a client of grpc-go talk through the gateway, at a host name of the target's own: calls of each kind, errors in each form, those
// that wait for a person, and those that are refused.
func TestGRPC(t *testing.T) {
	dir := t.TempDir()
	cert, key, err := server.SelfMade(dir, []string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	var said atomic.Int64
	up := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
	up.RegisterService(echoService(&said), new(any))
	h := health.NewServer()
	grpc_health_v1.RegisterHealthServer(up, h)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go up.Serve(l)
	t.Cleanup(up.Stop)
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte(lab.UpstreamToken), 0o600); err != nil {
		t.Fatal(err)
	}
	g := lab.StartBareGateway(t, binary, lab.Options{
		Targets: fmt.Sprintf("  - {name: calls, protocol: web, url: 'https://localhost:%d', caFile: %s, token: {file: %s}, hosts: [calls.test]}\n", l.Addr().(*net.TCPAddr).Port, filepath.Join(dir, "ca.crt"), token),
		Config:  "approvals: {holdOthers: 3s}\n",
		Policy: map[string]string{"web.yaml": `masking: [secrets, known]
rules:
  - {id: calls, protocol: web, effect: allow, when: 'web.grpc.method in ["Say", "Chat", "Check", "Watch"]', reason: a test}
  - {id: wipe, protocol: web, effect: approve, when: 'web.grpc.service == "lab.Echo" && web.grpc.method == "Wipe"', reason: it wipes}
`}})
	tc := trusting(t, g)
	tc.ServerName = "calls.test"
	c, err := grpc.NewClient("passthrough:///"+strings.TrimPrefix(g.URL, "https://"), grpc.WithTransportCredentials(credentials.NewTLS(tc)), grpc.WithAuthority("calls.test"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+g.Person("claude", "agents")), lab.Patience)
	defer cancel()
	say := func(method, text string, o ...grpc.CallOption) (string, error) {
		out := &wrapperspb.StringValue{}
		err := c.Invoke(ctx, "/lab.Echo/"+method, wrapperspb.String(text), out, o...)
		return out.Value, err
	}
	var head metadata.MD
	if got, err := say("Say", "hello", grpc.Header(&head)); err != nil || got != "hello" || !strings.HasPrefix(strings.Join(head["seen-authorization"], ","), "Bearer gbm-") {
		t.Errorf("%q %v %v", got, err, head)
	}
	if _, err := say("Say", "fail"); status.Code(err) != codes.NotFound || !strings.Contains(status.Convert(err).Message(), "there is no gbm-") {
		t.Errorf("an error: %v", err)
	}
	before := said.Load()
	if got, err := say("Never", "hello"); status.Code(err) != codes.PermissionDenied || !strings.HasPrefix(status.Convert(err).Message(), "gatebook: ") || said.Load() != before {
		t.Errorf("refused: %q %v", got, err)
	}
	if _, err := say("Say", lab.UpstreamToken); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "withheld") {
		t.Errorf("a secret in a message: %v", err)
	}
	chat(ctx, t, c)
	watch(ctx, t, c, h)

	// Nobody answers in time; then somebody does, and the same call is made, once.
	before = said.Load()
	ann := g.API(g.Person("ann", "approvers"))
	_, err = say("Wipe", "all")
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "pproval ") {
		t.Errorf("held: %v", err)
	}
	a := pending(t, ann, "/lab.Echo/Wipe")
	if _, err := ann.Answer(t.Context(), a.ID, client.Answer{Yes: true}); err != nil {
		t.Fatal(err)
	}
	if said.Load() != before {
		t.Error("it ran before anybody came for it")
	}
	if got, err := say("Wipe", "all"); err != nil || got != "all" || said.Load() != before+1 {
		t.Errorf("approved: %q %v, ran %d times", got, err, said.Load()-before)
	}
	if _, err := say("Wipe", "all"); err == nil || said.Load() != before+1 {
		t.Errorf("an approval was used twice: %v", err)
	}
}

// chat says more each time that it was answered.
func chat(ctx context.Context, t *testing.T, c *grpc.ClientConn) {
	t.Helper()
	s, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/lab.Echo/Chat")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"a", strings.Repeat("b", 100_000), ""} {
		out := &wrapperspb.StringValue{}
		if err := s.SendMsg(wrapperspb.String(text)); err != nil {
			t.Fatal(err)
		}
		if err := s.RecvMsg(out); err != nil || out.Value != "you said "+text {
			t.Fatalf("%.20q %v", out.Value, err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(&wrapperspb.StringValue{}); err != io.EOF {
		t.Errorf("the end: %v", err)
	}
}

// watch follows a stream that only the server ends.
func watch(ctx context.Context, t *testing.T, c *grpc.ClientConn, h *health.Server) {
	t.Helper()
	x := grpc_health_v1.NewHealthClient(c)
	if _, err := x.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "none"}); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown service: %v", err)
	}
	w, err := x.Watch(ctx, &grpc_health_v1.HealthCheckRequest{Service: "lab.Echo"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []grpc_health_v1.HealthCheckResponse_ServingStatus{grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN, grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING} {
		if want != grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN {
			h.SetServingStatus("lab.Echo", want)
		}
		if r, err := w.Recv(); err != nil || r.Status != want {
			t.Fatalf("%v %v, want %v", r, err, want)
		}
	}
}
