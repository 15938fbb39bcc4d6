package stepgres_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	stepgres "github.com/stepgres/stepgres/worker_sdk/go"
	pb "github.com/stepgres/stepgres/worker_sdk/go/stepgresv1"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// coordinator speaks the protocol over gRPC in memory; each test says what it answers.
type coordinator struct {
	pb.UnimplementedWorkerServiceServer
	pb.UnimplementedFlowServiceServer
	pb.UnimplementedRunServiceServer
	t        *testing.T
	listener *bufconn.Listener
	// streams are the Work streams in the order of their Hellos.
	streams chan *work

	mu sync.Mutex
	// runInputs counts the calls of GetRunInput; runInput answers them.
	runInputs int
	runInput  func(token []byte) ([]byte, error)
	runs      runs
	// flows are those that GetFlow finds.
	flows map[string]*pb.Flow
	// createFlow answers CreateFlow.
	createFlow func(*pb.CreateFlowRequest) (*pb.CreateFlowResponse, error)
}

func newCoordinator(t *testing.T) *coordinator {
	c := &coordinator{t: t, listener: bufconn.Listen(1 << 20), streams: make(chan *work, 100)}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(20 << 20))
	pb.RegisterWorkerServiceServer(server, c)
	pb.RegisterFlowServiceServer(server, c)
	pb.RegisterRunServiceServer(server, c)
	go server.Serve(c.listener)
	t.Cleanup(server.Stop)
	return c
}

// client connects to the coordinator.
func (c *coordinator) client(options stepgres.ClientOptions) *stepgres.Client {
	options.Target = "passthrough:///memory"
	options.DialOptions = append(options.DialOptions,
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return c.listener.DialContext(ctx) }))
	client, err := stepgres.NewClient(options)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { client.Close() })
	return client
}

// worker is one that logs nothing.
func (c *coordinator) worker(options stepgres.WorkerOptions) *stepgres.Worker {
	options.Logger = slog.New(slog.DiscardHandler)
	return stepgres.NewWorker(c.client(stepgres.ClientOptions{}), options)
}

// serve starts a worker; at the end of the test it is stopped. The channel gives what Serve returns.
func (c *coordinator) serve(w *stepgres.Worker) <-chan error {
	done, gone := make(chan error, 1), make(chan struct{})
	go func() { done <- w.Serve(context.Background()); close(gone) }()
	c.t.Cleanup(func() {
		w.StopNow()
		await(c.t, gone, "the worker's end")
	})
	return done
}

// next is the stream that comes next.
func (c *coordinator) next() *work { c.t.Helper(); return await(c.t, c.streams, "a stream") }

// open serves a worker and welcomes its first stream.
func (c *coordinator) open(w *stepgres.Worker) *work {
	c.serve(w)
	st := c.next()
	st.welcome(nil)
	return st
}

func (c *coordinator) Work(stream grpc.BidiStreamingServer[pb.WorkRequest, pb.WorkResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	st := &work{t: c.t, stream: stream, hello: first.GetHello(), end: make(chan error, 1), in: make(chan *pb.WorkRequest, 1000)}
	go func() {
		defer close(st.in)
		for {
			frame, err := stream.Recv()
			if err == io.EOF { // half-closed, after Goodbye
				st.finish(nil)
			}
			if err != nil {
				return
			}
			st.in <- frame
		}
	}()
	c.streams <- st
	select {
	case err := <-st.end:
		return err
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
}

func (c *coordinator) GetRunInput(_ context.Context, r *pb.GetRunInputRequest) (*pb.GetRunInputResponse, error) {
	c.mu.Lock()
	c.runInputs++
	c.mu.Unlock()
	input, err := c.runInput(r.GetToken())
	return &pb.GetRunInputResponse{Input: input}, err
}

func (c *coordinator) CreateFlow(_ context.Context, r *pb.CreateFlowRequest) (*pb.CreateFlowResponse, error) {
	return c.createFlow(r)
}

// work is one Work stream as the coordinator sees it.
type work struct {
	t      *testing.T
	stream grpc.BidiStreamingServer[pb.WorkRequest, pb.WorkResponse]
	hello  *pb.Hello
	in     chan *pb.WorkRequest
	end    chan error
}

// finish ends the stream, as its coordinator would.
func (w *work) finish(err error) {
	select {
	case w.end <- err:
	default:
	}
}

// breakOff ends it as a coordinator that dies.
func (w *work) breakOff() { w.finish(status.Error(codes.Unavailable, "the coordinator went away")) }

var sessionID = []byte("0123456789abcdef")

// welcome answers Hello; change may say otherwise.
func (w *work) welcome(change func(*pb.Welcome)) {
	welcome := &pb.Welcome{
		SessionId: sessionID, Resumed: len(w.hello.GetSessionId()) > 0, ProtocolVersion: 1, LeaseMs: 60_000,
		HeartbeatMs: 20_000, MaxCredits: 10_000, MaxOutputBytes: 1 << 20, MaxFrameBytes: 4 << 20,
	}
	if change != nil {
		change(welcome)
	}
	w.send(&pb.WorkResponse{Frame: &pb.WorkResponse_Welcome{Welcome: welcome}})
}

func (w *work) send(frame *pb.WorkResponse) {
	w.t.Helper()
	if err := w.stream.Send(frame); err != nil {
		w.t.Fatal(err)
	}
}

// task is a leased task of a single step; change may say otherwise.
func task(token, handler, input string, change ...func(*pb.LeasedTask)) *pb.LeasedTask {
	leased := &pb.LeasedTask{
		Token: []byte(token), RunId: "run-1", Flow: "flow", Version: 1, Step: "step", Attempt: 1, Handler: handler,
		TimeoutS: 30, Input: []byte(input), StepType: pb.StepType_STEP_TYPE_SINGLE,
	}
	for _, f := range change {
		f(leased)
	}
	return leased
}

func (w *work) tasks(tasks ...*pb.LeasedTask) {
	w.t.Helper()
	w.send(&pb.WorkResponse{Frame: &pb.WorkResponse_TaskBatch{TaskBatch: &pb.TaskBatch{Tasks: tasks}}})
}

func (w *work) acks(acks ...*pb.Ack) {
	w.t.Helper()
	w.send(&pb.WorkResponse{Frame: &pb.WorkResponse_AckBatch{AckBatch: &pb.AckBatch{Acks: acks}}})
}

// ack answers results.
func (w *work) ack(verdict pb.AckVerdict, tokens ...string) {
	w.t.Helper()
	for _, token := range tokens {
		w.acks(&pb.Ack{Token: []byte(token), Verdict: verdict})
	}
}

func (w *work) recorded(tokens ...string) {
	w.t.Helper()
	w.ack(pb.AckVerdict_ACK_VERDICT_RECORDED, tokens...)
}

func (w *work) ping() { w.send(&pb.WorkResponse{Frame: &pb.WorkResponse_Ping{Ping: &pb.Ping{}}}) }

func (w *work) drain() { w.send(&pb.WorkResponse{Frame: &pb.WorkResponse_Drain{Drain: &pb.Drain{}}}) }

// seen is what the worker has sent over some time.
type seen struct {
	credits int
	grants  int
	results []*pb.Result
	batches []int
	beats   []*pb.Heartbeat
	goodbye bool
	// closed: the stream is over.
	closed bool
}

// until reads frames until what has been seen is enough.
func (w *work) until(what string, enough func(seen) bool) seen {
	w.t.Helper()
	var all seen
	for !enough(all) {
		if all.closed {
			w.t.Fatalf("the stream ended before %s", what)
		}
		frame := await(w.t, w.in, what)
		switch frame := frame.GetFrame().(type) {
		case *pb.WorkRequest_CreditGrant:
			all.credits += int(frame.CreditGrant.GetCredits())
			all.grants++
		case *pb.WorkRequest_ResultBatch:
			if credits := int(frame.ResultBatch.GetCredits()); credits > 0 {
				all.credits += credits
				all.grants++
			}
			all.results = append(all.results, frame.ResultBatch.GetResults()...)
			all.batches = append(all.batches, len(frame.ResultBatch.GetResults()))
		case *pb.WorkRequest_Heartbeat:
			all.beats = append(all.beats, frame.Heartbeat)
		case *pb.WorkRequest_Goodbye:
			all.goodbye = true
		case nil:
			all.closed = true
		}
	}
	return all
}

// granted waits until the worker has asked for so many tasks.
func (w *work) granted(credits int) {
	w.t.Helper()
	if all := w.until("credits", func(s seen) bool { return s.credits >= credits }); all.credits != credits {
		w.t.Fatalf("%d credits granted, wanted %d", all.credits, credits)
	}
}

// results waits for so many results, by token.
func (w *work) results(count int) map[string]*pb.Result {
	w.t.Helper()
	all := w.until("results", func(s seen) bool { return len(s.results) >= count })
	found := make(map[string]*pb.Result)
	for _, result := range all.results {
		found[string(result.GetToken())] = result
	}
	if len(found) != count {
		w.t.Fatalf("results of %d tasks came, wanted %d", len(found), count)
	}
	return found
}

// quiet is everything the worker sends until it answers a ping: what is due comes before.
func (w *work) quiet() seen {
	w.t.Helper()
	w.ping()
	return w.until("the answer to a ping", func(s seen) bool { return len(s.beats) > 0 })
}

// await receives, or fails the test.
func await[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

func output(t *testing.T, result *pb.Result) string {
	t.Helper()
	if result.GetCompleted() == nil {
		t.Fatalf("the task did not complete: %v", result)
	}
	return string(result.GetCompleted().GetOutput())
}

func failure(t *testing.T, result *pb.Result) *pb.Failed {
	t.Helper()
	if result.GetFailed() == nil {
		t.Fatalf("the task did not fail: %v", result)
	}
	return result.GetFailed()
}

// echo returns its input.
func echo(_ context.Context, input json.RawMessage) (json.RawMessage, error) { return input, nil }

// gate holds handlers until they are let go, each by its input, a JSON text.
type gate struct {
	entered chan string
	mu      sync.Mutex
	doors   map[string]chan struct{}
}

func newGate() *gate {
	return &gate{entered: make(chan string, 1000), doors: make(map[string]chan struct{})}
}

func (g *gate) door(name string) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.doors[name] == nil {
		g.doors[name] = make(chan struct{})
	}
	return g.doors[name]
}

func (g *gate) open(name string) { close(g.door(name)) }

// wait is a handler; it ends with its context, too.
func (g *gate) wait(ctx context.Context, name string) (string, error) {
	g.entered <- name
	select {
	case <-g.door(name):
		return name, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
