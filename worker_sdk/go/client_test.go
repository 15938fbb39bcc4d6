package stepgres_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	stepgres "github.com/stepgres/stepgres/worker_sdk/go"
	pb "github.com/stepgres/stepgres/worker_sdk/go/stepgresv1"
)

// runs answers a coordinator's RunService.
type runs struct {
	mu      sync.Mutex
	started []*pb.StartRunRequest
	calls   int
	refuse  int
	// watch answers each WatchRun with the call's number, from 1.
	watch func(n int, r *pb.WatchRunRequest, frames grpc.ServerStreamingServer[pb.WatchRunResponse]) error
}

func (c *coordinator) StartRuns(ctx context.Context, r *pb.StartRunsRequest) (*pb.StartRunsResponse, error) {
	c.runs.mu.Lock()
	defer c.runs.mu.Unlock()
	c.runs.calls++
	if c.runs.refuse > 0 {
		c.runs.refuse--
		return nil, status.Error(codes.Unavailable, "not now")
	}
	answer := new(pb.StartRunsResponse)
	for _, request := range r.GetRequests() {
		c.runs.started = append(c.runs.started, request)
		answer.Results = append(answer.Results, &pb.StartRunResult{RunId: fmt.Sprint(len(c.runs.started))})
	}
	return answer, nil
}

func (c *coordinator) StartRun(ctx context.Context, r *pb.StartRunRequest) (*pb.StartRunResponse, error) {
	c.runs.mu.Lock()
	defer c.runs.mu.Unlock()
	c.runs.calls++
	if c.runs.refuse > 0 {
		c.runs.refuse--
		code := []codes.Code{codes.Unavailable, codes.DeadlineExceeded}[c.runs.refuse]
		return nil, status.Error(code, "not now")
	}
	c.runs.started = append(c.runs.started, r)
	headers, _ := metadata.FromIncomingContext(ctx)
	flow := r.GetFlow() + strings.Join(headers.Get("authorization"), "")
	return &pb.StartRunResponse{Run: &pb.Run{RunId: "r", Flow: flow}, Created: true}, nil
}

func (c *coordinator) GetRun(context.Context, *pb.GetRunRequest) (*pb.GetRunResponse, error) {
	return &pb.GetRunResponse{Run: snapshot(pb.StepStatus_STEP_STATUS_STARTED, pb.StepStatus_STEP_STATUS_CREATED)}, nil
}

func (c *coordinator) GetFlow(_ context.Context, r *pb.GetFlowRequest) (*pb.GetFlowResponse, error) {
	if flow := c.flows[r.GetFlow()]; flow != nil {
		return &pb.GetFlowResponse{Flow: flow}, nil
	}
	refusal, err := status.New(codes.NotFound, "flow nobody: does not exist").WithDetails(
		&errdetails.ErrorInfo{Domain: "stepgres", Reason: "FLOW_NOT_FOUND", Metadata: map[string]string{"flow": "nobody"}},
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: "flow", Description: "does not exist", Reason: "FLOW_NOT_FOUND"},
		}})
	if err != nil {
		return nil, err
	}
	return nil, refusal.Err()
}

func (c *coordinator) WatchRun(r *pb.WatchRunRequest, frames grpc.ServerStreamingServer[pb.WatchRunResponse]) error {
	c.runs.mu.Lock()
	c.runs.calls++
	n := c.runs.calls
	c.runs.mu.Unlock()
	return c.runs.watch(n, r, frames)
}

func snapshot(steps ...pb.StepStatus) *pb.Run {
	run := &pb.Run{RunId: "r", Status: pb.RunStatus_RUN_STATUS_STARTED, StepCount: int32(len(steps))}
	for i, step := range steps {
		run.Steps = append(run.Steps, &pb.StepState{Step: string(rune('a' + i)), Status: step})
		if step != pb.StepStatus_STEP_STATUS_COMPLETED {
			run.RemainingSteps++
		}
	}
	return run
}

func TestARefusalCarriesReasonAndViolations(t *testing.T) {
	client := newCoordinator(t).client(stepgres.ClientOptions{})
	_, err := client.GetFlow(t.Context(), &pb.GetFlowRequest{Flow: "nobody"})
	var refused *stepgres.Error
	if !errors.As(err, &refused) || !errors.Is(err, stepgres.ErrNotFound) || errors.Is(err, stepgres.ErrAlreadyExists) ||
		status.Code(err) != codes.NotFound {
		t.Fatalf("it is %v", err)
	}
	violation := refused.Violations[0]
	if refused.Reason != "FLOW_NOT_FOUND" || refused.Metadata["flow"] != "nobody" || violation.GetField() != "flow" ||
		violation.GetDescription() != "does not exist" || violation.GetReason() != "FLOW_NOT_FOUND" ||
		!errors.Is(err, &stepgres.Error{Code: codes.NotFound, Reason: "FLOW_NOT_FOUND"}) {
		t.Errorf("it is %+v", refused)
	}
}

func TestCallsAreRepeatedOnlyWhereThatIsSafe(t *testing.T) {
	c := newCoordinator(t)
	client := c.client(stepgres.ClientOptions{})
	c.runs.refuse = 2
	if run, err := client.StartRun(t.Context(), stepgres.RunSpec{Flow: "f", IdempotencyKey: "k"}); err != nil || run.ID != "r" {
		t.Fatalf("with a key: %v", err)
	}
	if c.runs.calls != 3 || string(c.runs.started[0].GetInput()) != "{}" {
		t.Errorf("%d calls, %v", c.runs.calls, c.runs.started)
	}
	c.runs.refuse = 1
	if _, err := client.StartRun(t.Context(), stepgres.RunSpec{Flow: "f"}); !errors.Is(err, stepgres.ErrUnavailable) {
		t.Errorf("without a key: %v", err)
	}
}

func TestManyRunsAreStartedInSeveralCalls(t *testing.T) {
	c := newCoordinator(t)
	client := c.client(stepgres.ClientOptions{})
	specs := make([]stepgres.RunSpec, 2500)
	for i := range specs {
		specs[i] = stepgres.RunSpec{Flow: "f", Input: i}
	}
	results, err := client.StartRuns(t.Context(), specs)
	if err != nil || len(results) != 2500 || c.runs.calls != 3 || string(c.runs.started[2499].GetInput()) != "2499" {
		t.Errorf("%d results in %d calls, %v", len(results), c.runs.calls, err)
	}
	c.runs.calls = 0
	large := stepgres.RunSpec{Flow: "f", Input: strings.Repeat("x", 6<<20)}
	if results, err := client.StartRuns(t.Context(), []stepgres.RunSpec{large, large}); err != nil || len(results) != 2 || c.runs.calls != 2 {
		t.Errorf("%d large results in %d calls, %v", len(results), c.runs.calls, err)
	}
}

func TestAWatchGoesOnWhereItBrokeAndMergesChanges(t *testing.T) {
	c := newCoordinator(t)
	client := c.client(stepgres.ClientOptions{})
	const done, started, created = pb.StepStatus_STEP_STATUS_COMPLETED, pb.StepStatus_STEP_STATUS_STARTED, pb.StepStatus_STEP_STATUS_CREATED
	var cursors []string
	c.runs.watch = func(n int, r *pb.WatchRunRequest, frames grpc.ServerStreamingServer[pb.WatchRunResponse]) error {
		cursors = append(cursors, r.GetCursor())
		switch n {
		case 1:
			frames.Send(&pb.WatchRunResponse{Cursor: "1", Frame: &pb.WatchRunResponse_Snapshot{Snapshot: snapshot(started, created)}})
			return status.Error(codes.Unavailable, "gone")
		case 2:
			change := &pb.RunChange{Status: pb.RunStatus_RUN_STATUS_STARTED, Revision: 5, Steps: []*pb.StepState{{Step: "a", Status: done}}}
			frames.Send(&pb.WatchRunResponse{Cursor: "2", Frame: &pb.WatchRunResponse_Change{Change: change}})
			return nil // closed without an end
		}
		end := snapshot(done, done)
		end.Status, end.Output = pb.RunStatus_RUN_STATUS_COMPLETED, []byte(`{"b":1}`)
		return frames.Send(&pb.WatchRunResponse{Cursor: "3", Frame: &pb.WatchRunResponse_End{End: end}})
	}
	var told []string
	for s, err := range client.Run("r").Watch(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, fmt.Sprint(s.Cursor, s.GetRemainingSteps(), s.GetStatus() == pb.RunStatus_RUN_STATUS_COMPLETED))
	}
	if want := []string{"12 false", "21 false", "30 true"}; !slices.Equal(told, want) || !slices.Equal(cursors, []string{"", "1", "2"}) {
		t.Errorf("told %q with cursors %q", told, cursors)
	}
	if output, err := client.Run("r").Result(t.Context()); err != nil || string(output) != `{"b":1}` {
		t.Errorf("the result is %s, %v", output, err)
	}
	c.runs.calls = 1 // a watch with a cursor alone begins with the run as it stands
	for s, err := range client.Run("r").Watch(t.Context(), "1") {
		if err != nil || s.GetRemainingSteps() != 1 || s.GetRevision() != 5 {
			t.Errorf("it began with %v, %v", s, err)
		}
		break
	}
}

func TestAResultTellsHowARunEnded(t *testing.T) {
	c := newCoordinator(t)
	client := c.client(stepgres.ClientOptions{})
	end := &pb.Run{
		Status: pb.RunStatus_RUN_STATUS_FAILED, Error: &pb.RunError{Step: "pay", Code: "CARD", Message: "no"},
	}
	c.runs.watch = func(_ int, _ *pb.WatchRunRequest, frames grpc.ServerStreamingServer[pb.WatchRunResponse]) error {
		return frames.Send(&pb.WatchRunResponse{Frame: &pb.WatchRunResponse_End{End: end}})
	}
	_, err := client.Run("r").Result(t.Context())
	if failed := (&stepgres.RunFailedError{}); !errors.As(err, &failed) || err.Error() != "run r failed in step pay: CARD: no" || failed.GetCode() != "CARD" {
		t.Errorf("it is %v", err)
	}
	end.Status, end.Error = pb.RunStatus_RUN_STATUS_CANCELLED, &pb.RunError{Message: "changed my mind"}
	_, err = client.Run("r").Result(t.Context())
	if cancelled := (&stepgres.RunCancelledError{}); !errors.As(err, &cancelled) || cancelled.Message != "changed my mind" {
		t.Errorf("it is %v", err)
	}
	c.runs.watch = func(_ int, _ *pb.WatchRunRequest, frames grpc.ServerStreamingServer[pb.WatchRunResponse]) error {
		<-frames.Context().Done()
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err = client.Run("r").Result(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it is %v", err)
	}
}

func TestPlansBecomeTheSameRequest(t *testing.T) {
	c := newCoordinator(t)
	var asked []*pb.CreateFlowRequest
	c.createFlow = func(r *pb.CreateFlowRequest) (*pb.CreateFlowResponse, error) {
		asked = append(asked, r)
		return &pb.CreateFlowResponse{Created: true}, nil
	}
	client := c.client(stepgres.ClientOptions{})
	flow := &stepgres.Flow{Slug: "f", MaxAttempts: new(int32(5)), BaseDelayS: new(int32(0)), Steps: []*stepgres.Step{
		{Slug: "a", Params: stepgres.MustParams(map[string]any{"n": 1}), TimeoutS: new(int32(60))},
		{Slug: "b", StepType: stepgres.Map, DependsOn: []string{"a"}, InitialTasks: new(int32(0)), MaxDelayS: new(int32(3600))},
	}}
	document, err := stepgres.ParsePlan([]byte(`{"slug": "f", "max_attempts": 5, "base_delay_s": 0, "steps": [
		{"slug": "a", "params": {"n": 1}, "timeout_s": 60},
		{"slug": "b", "step_type": "map", "depends_on": ["a"], "initial_tasks": 0, "max_delay_s": 3600}]}`))
	if err != nil || !proto.Equal(flow, document) {
		t.Fatalf("%v\n%v, %v", flow, document, err)
	}
	if _, err := client.CreateFlow(t.Context(), flow); err != nil || !proto.Equal(asked[0], flow) {
		t.Errorf("created %v, %v", asked[0], err)
	}
	if _, err := client.ApplyFlow(t.Context(), flow); err != nil || !asked[1].GetNewVersion() || flow.GetNewVersion() {
		t.Errorf("applied %v, %v", asked[1], err)
	}
	for name, plan := range map[string]string{"an unknown field": `{"slugg": "x"}`, "no object": `[1]`, "no JSON": `{`} {
		if _, err := stepgres.ParsePlan([]byte(plan)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("params that are no object are accepted")
		}
	}()
	stepgres.MustParams([]int{1})
}

func TestATokenTravelsOverTLSOrWhereItIsAllowed(t *testing.T) {
	if _, err := stepgres.NewClient(stepgres.ClientOptions{Token: "secret"}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a token without TLS: %v", err)
	}
	if _, err := stepgres.NewClient(stepgres.ClientOptions{Token: "secret", TLS: &tls.Config{}}); err != nil {
		t.Errorf("a token with TLS: %v", err)
	}
	c := newCoordinator(t)
	client := c.client(stepgres.ClientOptions{Token: "secret", PlaintextToken: true})
	if run, err := client.StartRun(t.Context(), stepgres.RunSpec{Flow: "f "}); err != nil || run.Flow != "f Bearer secret" {
		t.Errorf("the coordinator saw %v, %v", run, err)
	}
}

func TestTargetsThatAreNoneAreRefusedAtOnce(t *testing.T) {
	for _, target := range []string{"nonsense", "http://x", "x:", ":1", "x:99999", "x:y"} {
		if _, err := stepgres.NewClient(stepgres.ClientOptions{Target: target}); err == nil {
			t.Errorf("%s is accepted", target)
		}
	}
	for _, target := range []string{
		"x:1", "[::1]:50051", "dns:///x:1", "dns://8.8.8.8/x:1", "ipv4:10.0.0.1:1,10.0.0.2:2", "unix:/run/s.sock",
	} {
		client, err := stepgres.NewClient(stepgres.ClientOptions{Target: target})
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		client.Close()
	}
	t.Setenv("STEPGRES_TARGET", "nowhere")
	if _, err := stepgres.NewClient(stepgres.ClientOptions{}); err == nil || !strings.Contains(err.Error(), "STEPGRES_TARGET") {
		t.Errorf("the variable is not named: %v", err)
	}
}

func TestNobodyAnsweringIsSaidInPlainWords(t *testing.T) {
	client, err := stepgres.NewClient(stepgres.ClientOptions{Target: "ipv4:127.0.0.1:9,127.0.0.1:10", Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = client.DeleteFlow(t.Context(), &pb.DeleteFlowRequest{Flow: "f"})
	var refused *stepgres.Error
	if !errors.As(err, &refused) || !errors.Is(err, stepgres.ErrUnavailable) || !strings.Contains(err.Error(), "connection refused") ||
		!strings.Contains(err.Error(), "stepgres dev") {
		t.Errorf("it is %v", err)
	}
}
