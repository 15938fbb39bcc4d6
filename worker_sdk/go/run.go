package stepgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/stepgres/stepgres/worker_sdk/go/stepgresv1"
)

const (
	// runsPerCall and bytesPerCall bound one call of StartRuns.
	runsPerCall     = 1000
	bytesPerCall    = maxMessageBytes / 2
	requestOverhead = 8
	// watchCap is the longest wait before a broken watch is opened again; after watchTries in a row the caller is told.
	watchCap   = 5 * time.Second
	watchTries = 6
)

// RunSpec says what to start: a flow, or a plan that comes along.
type RunSpec struct {
	// Flow is a slug; leave it out for a plan.
	Flow string
	// Plan is stored under the hash of its content and goes with its last run; it has no slug, queue or NewVersion, and a
	// step's handler is by default the step's slug.
	Plan *Flow
	// Version of the flow; 0: the latest.
	Version int
	// Input is anything that encodes as JSON; json.RawMessage goes as it is; nil: {}.
	Input any
	// IdempotencyKey, up to 128 characters: the same key and input is the same run, and the call is safe to repeat.
	IdempotencyKey string
	// Scope: only workers of this scope get its tasks; empty: the common one.
	Scope string
}

func (s RunSpec) request() (*pb.StartRunRequest, error) {
	request := &pb.StartRunRequest{
		Version: int32(s.Version), Input: []byte("{}"), IdempotencyKey: s.IdempotencyKey, Scope: s.Scope,
		Definition: &pb.StartRunRequest_Flow{Flow: s.Flow},
	}
	if s.Plan != nil {
		if s.Flow != "" {
			return nil, fmt.Errorf("flow: %q and a plan are given; start one of them", s.Flow)
		}
		request.Definition = &pb.StartRunRequest_Plan{Plan: s.Plan}
	}
	if s.Input == nil {
		return request, nil
	}
	input, err := encode(s.Input)
	if err != nil {
		return nil, fmt.Errorf("input: not JSON: %w", err)
	}
	request.Input = input
	return request, nil
}

// Run is a handle of a run: from [Client.StartRun], or by its id from [Client.Run].
type Run struct {
	// ID is the run's UUID.
	ID string
	// Flow is the slug of its flow, of a plan plan:<hash>; empty in a handle made by id.
	Flow string
	// Created is false when the idempotency key had started it before.
	Created bool
	client  *Client
}

// Snapshot is a run at one moment of a watch.
type Snapshot struct {
	*pb.Run
	// Cursor resumes the watch after this moment.
	Cursor string
}

// StartRun starts a run.
func (c *Client) StartRun(ctx context.Context, spec RunSpec) (*Run, error) {
	request, err := spec.request()
	if err != nil {
		return nil, err
	}
	answer, err := c.RunServiceClient.StartRun(ctx, request)
	if err != nil {
		return nil, err
	}
	return &Run{ID: answer.GetRun().GetRunId(), Flow: answer.GetRun().GetFlow(), Created: answer.GetCreated(), client: c}, nil
}

// StartRuns starts any number of runs, each accepted or refused on its own: the results are in the order of specs.
//
// After an error of a call the results of the calls before it are returned with the error.
func (c *Client) StartRuns(ctx context.Context, specs []RunSpec) ([]*pb.StartRunResult, error) {
	requests := make([]*pb.StartRunRequest, len(specs))
	for i, spec := range specs {
		request, err := spec.request()
		if err != nil {
			return nil, fmt.Errorf("specs[%d]: %w", i, err)
		}
		requests[i] = request
	}
	var results []*pb.StartRunResult
	for len(requests) > 0 {
		count := 1
		for size := proto.Size(requests[0]); count < min(len(requests), runsPerCall); count++ {
			if size += proto.Size(requests[count]) + requestOverhead; size > bytesPerCall {
				break
			}
		}
		answer, err := c.RunServiceClient.StartRuns(ctx, &pb.StartRunsRequest{Requests: requests[:count]})
		if err != nil {
			return results, err
		}
		results, requests = append(results, answer.GetResults()...), requests[count:]
	}
	return results, nil
}

// Run makes a handle for a run; it asks nobody whether it exists.
func (c *Client) Run(id string) *Run { return &Run{ID: id, client: c} }

// Get reads the run with its steps and payloads.
func (r *Run) Get(ctx context.Context) (*pb.Run, error) {
	answer, err := r.client.GetRun(ctx, &pb.GetRunRequest{RunId: r.ID, View: pb.View_VIEW_FULL})
	return answer.GetRun(), err
}

// Cancel ends the run: queued tasks go, handlers are told to stop. False: it had ended before.
func (r *Run) Cancel(ctx context.Context, reason string) (bool, error) {
	answer, err := r.client.CancelRun(ctx, &pb.CancelRunRequest{RunId: r.ID, Reason: reason})
	return answer.GetCancelled(), err
}

// Retry lets a failed or cancelled run go on: what is finished stays, the rest starts again with all its attempts.
// False: it was started already. ErrFailedPrecondition: it has completed.
func (r *Run) Retry(ctx context.Context) (bool, error) {
	answer, err := r.client.RetryRun(ctx, &pb.RetryRunRequest{RunId: r.ID})
	return answer.GetRetried(), err
}

// Watch follows the run until it has ended, at most ten times a second, and goes on by itself where the connection
// broke. The last snapshot is terminal; after an error nothing follows.
//
// With the cursor of an earlier snapshot only what changed since is told; empty begins with the run as it stands.
func (r *Run) Watch(ctx context.Context, cursor string) iter.Seq2[Snapshot, error] {
	return r.watch(ctx, cursor, pb.View_VIEW_BASIC)
}

// Result waits for the end of the run and returns its output, {"<leaf>": <output>, …}. It fails with
// *[RunFailedError], *[RunCancelledError], or the context's error: the run goes on then.
func (r *Run) Result(ctx context.Context) (json.RawMessage, error) {
	var last Snapshot
	for snapshot, err := range r.watch(ctx, "", pb.View_VIEW_FULL) {
		if err != nil {
			return nil, err
		}
		last = snapshot
	}
	switch last.GetStatus() {
	case pb.RunStatus_RUN_STATUS_COMPLETED:
		return last.GetOutput(), nil
	case pb.RunStatus_RUN_STATUS_CANCELLED:
		return nil, &RunCancelledError{RunID: r.ID, Message: last.GetError().GetMessage()}
	}
	return nil, &RunFailedError{RunID: r.ID, RunError: last.GetError()}
}

func (r *Run) watch(ctx context.Context, cursor string, view pb.View) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		var latest *pb.Run
		request := &pb.WatchRunRequest{RunId: r.ID, Cursor: cursor, View: view}
		for failures := 0; ; failures++ {
			err := r.follow(ctx, request, latest, func(run *pb.Run, cursor string) bool {
				latest, request.Cursor, failures = run, cursor, 0
				return yield(Snapshot{run, cursor}, nil)
			})
			if err == nil {
				return
			}
			if errors.Is(err, ErrUnavailable) && failures < watchTries {
				err = pause(ctx, fullJitter(failures, watchCap))
			}
			if err != nil {
				yield(Snapshot{}, err)
				return
			}
		}
	}
}

// follow reads one stream and tells how the run stands after each frame. Nil: the run has ended, or next wants no more.
func (r *Run) follow(
	ctx context.Context, request *pb.WatchRunRequest, run *pb.Run, next func(run *pb.Run, cursor string) bool,
) error {
	if request.Cursor != "" && run == nil { // changes need something to be merged into
		answer, err := r.client.GetRun(ctx, &pb.GetRunRequest{RunId: r.ID, View: pb.View_VIEW_BASIC})
		if err != nil {
			return err
		}
		run = answer.GetRun()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	frames, err := r.client.WatchRun(ctx, request)
	for err == nil {
		var frame *pb.WatchRunResponse
		if frame, err = frames.Recv(); err != nil {
			break
		}
		switch kind := frame.GetFrame().(type) {
		case *pb.WatchRunResponse_Snapshot:
			run = kind.Snapshot
		case *pb.WatchRunResponse_End:
			run = kind.End
		case *pb.WatchRunResponse_Change:
			run = merged(run, kind.Change)
		}
		if !next(run, frame.GetCursor()) || frame.GetEnd() != nil {
			return nil
		}
	}
	return r.client.requestError(ctx, err)
}

// merged is the run after a change; earlier snapshots stay as they are.
func merged(base *pb.Run, change *pb.RunChange) *pb.Run {
	run := proto.CloneOf(cmp.Or(base, new(pb.Run)))
	run.Status, run.Revision, run.RemainingSteps = change.GetStatus(), change.GetRevision(), 0
	for _, step := range change.GetSteps() {
		at := slices.IndexFunc(run.Steps, func(s *pb.StepState) bool { return s.GetStep() == step.GetStep() })
		if at < 0 {
			run.Steps = append(run.Steps, step)
		} else {
			run.Steps[at] = step
		}
	}
	for _, step := range run.Steps {
		if step.GetStatus() != pb.StepStatus_STEP_STATUS_COMPLETED {
			run.RemainingSteps++
		}
	}
	return run
}
