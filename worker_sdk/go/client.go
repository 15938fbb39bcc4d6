package stepgres

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"

	pb "github.com/stepgres/stepgres/worker_sdk/go/stepgresv1"
)

const (
	targetVariable  = "STEPGRES_TARGET"
	defaultTarget   = "127.0.0.1:50051"
	maxMessageBytes = 20 << 20
	// Spreads workers over the addresses of a name, so that a reconnect may land elsewhere.
	serviceConfig = `{"loadBalancingConfig":[{"pick_first":{"shuffleAddressList":true}}]}`
	// retryCap is the longest wait between two tries of one call.
	retryCap = 2 * time.Second
)

// ClientOptions say how coordinators are reached. The zero value is STEPGRES_TARGET, else 127.0.0.1:50051, without TLS.
type ClientOptions struct {
	// Target is host:port or a target of gRPC: dns:///name:50051 (a name with several addresses),
	// ipv4:10.0.0.1:50051,10.0.0.2:50051 or unix:/path. Empty: the variable STEPGRES_TARGET, else 127.0.0.1:50051.
	Target string
	// TLS encrypts; with certificates it also says who calls. Nil: plaintext.
	TLS *tls.Config
	// Token is sent as `authorization: Bearer <token>` with every call, over TLS only.
	Token string
	// PlaintextToken sends the token without TLS too, for networks where something else encrypts.
	PlaintextToken bool
	// Timeout of a call whose context has no deadline, retries included; 0: 30 s. Watching has none.
	Timeout time.Duration
	// DialOptions come after the SDK's own.
	DialOptions []grpc.DialOption
}

// Client defines flows and starts, reads, watches, cancels and retries runs. It is safe for concurrent use.
//
// It has every call of the contract's FlowService and RunService, with the contract's messages; only StartRun and
// StartRuns take a [RunSpec]. [Client.Run] makes a handle for one run: to watch it, or to wait for its result.
//
// The connection opens at the first call. A call that may be repeated is: while nobody answers, with backoff, until its
// deadline. Errors are of type *[Error].
type Client struct {
	pb.FlowServiceClient
	pb.RunServiceClient
	work    pb.WorkerServiceClient
	options ClientOptions
	conn    *grpc.ClientConn
}

// NewClient makes a client; nobody needs to listen yet. It fails for a target that is no address, and for a token that
// anybody on the way could read.
func NewClient(options ClientOptions) (*Client, error) {
	options.Target = cmp.Or(options.Target, os.Getenv(targetVariable), defaultTarget)
	options.Timeout = cmp.Or(options.Timeout, 30*time.Second)
	c := &Client{options: options}
	if err := checkTarget(options.Target); err != nil {
		return nil, err
	}
	var err error
	if c.conn, err = c.dial(); err != nil {
		return nil, err
	}
	c.FlowServiceClient = pb.NewFlowServiceClient(c.conn)
	c.RunServiceClient = pb.NewRunServiceClient(c.conn)
	c.work = pb.NewWorkerServiceClient(c.conn)
	return c, nil
}

// Close closes the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Target is the address that is called.
func (c *Client) Target() string { return c.options.Target }

// invoke makes one unary call, again and again while that is safe and the deadline allows.
//
// OVERLOADED was not begun, so anything may be tried again; what nobody has answered may have been done already.
func (c *Client) invoke(
	ctx context.Context, method string, request, answer any, conn *grpc.ClientConn, invoker grpc.UnaryInvoker,
	options ...grpc.CallOption,
) error {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.options.Timeout)
		defer cancel()
	}
	deadline, _ := ctx.Deadline()
	for attempt := 0; ; attempt++ {
		err := invoker(ctx, method, request, answer, conn, options...)
		if err == nil {
			return nil
		}
		failure := c.requestError(ctx, err)
		unanswered := failure.Code == codes.Unavailable || failure.Code == codes.DeadlineExceeded
		again := unanswered && repeatable(request) || failure.Reason == "OVERLOADED"
		wait := fullJitter(attempt, retryCap)
		if !again || time.Until(deadline) <= wait || pause(ctx, wait) != nil {
			return failure
		}
	}
}

// repeatable: a second call with the same request changes nothing more.
func repeatable(request any) bool {
	switch request := request.(type) {
	case *pb.DeleteFlowRequest: // a second one might delete a flow that was created in between
		return false
	case *pb.StartRunRequest:
		return request.GetIdempotencyKey() != ""
	case *pb.StartRunsRequest:
		return !slices.ContainsFunc(request.GetRequests(), func(r *pb.StartRunRequest) bool { return !repeatable(r) })
	}
	return true
}

// fullJitter is how long to wait after so many failures, from 0: random between 0 and min(limit, 0.1 s * 2^failures).
func fullJitter(failures int, limit time.Duration) time.Duration {
	return rand.N(min(limit, 100*time.Millisecond<<min(failures, 20)))
}

// pause waits; it returns early with an error when the context ends.
func pause(ctx context.Context, wait time.Duration) error {
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// dial opens a connection: one for a client's calls, one for each stream of a worker.
func (c *Client) dial() (*grpc.ClientConn, error) {
	transport := insecure.NewCredentials()
	if c.options.TLS != nil {
		transport = credentials.NewTLS(c.options.TLS)
	}
	// A connection waits two seconds at most before it tries an address again that refused.
	again := backoff.DefaultConfig
	again.BaseDelay, again.MaxDelay = 100*time.Millisecond, 2*time.Second
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes), grpc.MaxCallSendMsgSize(maxMessageBytes)),
		// Published numbers: ping after 15 s, give up 10 s later; servers allow a ping each 10 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 15 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true,
		}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: again, MinConnectTimeout: 5 * time.Second}),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithUserAgent("stepgres-go/" + Version),
		grpc.WithResolvers(addressList("ipv4"), addressList("ipv6")),
		grpc.WithChainUnaryInterceptor(c.invoke),
	}
	if c.options.Token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer{c.options.Token, !c.options.PlaintextToken}))
	}
	conn, err := grpc.NewClient(c.options.Target, append(options, c.options.DialOptions...)...)
	if err != nil {
		return nil, fmt.Errorf("stepgres: target %s: %w", c.options.Target, err)
	}
	return conn, nil
}

// bearer is a token in each call's metadata.
type bearer struct {
	token  string
	secure bool
}

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b.token}, nil
}

func (b bearer) RequireTransportSecurity() bool { return b.secure }

// checkTarget refuses what gRPC would take for the name of a host and look up for ever.
func checkTarget(target string) error {
	scheme, _, _ := strings.Cut(target, ":")
	if slices.Contains([]string{"dns", "ipv4", "ipv6", "unix", "unix-abstract", "xds", "passthrough"}, scheme) {
		return nil
	}
	host, port, err := net.SplitHostPort(target)
	if number, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || host == "" || number == 0 {
		return fmt.Errorf("stepgres: target %q, of the options or of %s, is not host:port; write one such as %s",
			target, targetVariable, defaultTarget)
	}
	return nil
}

// addressList resolves targets such as ipv4:10.0.0.1:50051,10.0.0.2:50051, which gRPC knows in other languages.
type addressList string

func (a addressList) Scheme() string { return string(a) }

func (a addressList) Build(
	target resolver.Target, conn resolver.ClientConn, _ resolver.BuildOptions,
) (resolver.Resolver, error) {
	var state resolver.State
	for address := range strings.SplitSeq(target.Endpoint(), ",") {
		state.Addresses = append(state.Addresses, resolver.Address{Addr: address})
	}
	return a, conn.UpdateState(state)
}

func (addressList) ResolveNow(resolver.ResolveNowOptions) {}

func (addressList) Close() {}
