package stepgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	pb "github.com/stepgres/stepgres/worker_sdk/go/stepgresv1"
)

// What a worker keeps of the inputs of runs. When it is more, all are forgotten: asking again costs a call.
const (
	keptInputs     = 1000
	keptInputBytes = 64 << 20
)

// Task tells a handler which task it executes; [TaskFrom] finds it in the handler's context.
type Task struct {
	// LeasedTask has the run, the flow, the step, the attempt (from 1) and what else the contract tells.
	*pb.LeasedTask

	// session is nil outside of a worker.
	session *session
	// cancel ends the handler's context with a cause.
	cancel context.CancelCauseFunc
	// maxOutput is the size of the largest output.
	maxOutput int64
}

type taskKey struct{}

// TaskFrom is the task whose handler got this context, or one made from it. Outside of a handler it is nil.
func TaskFrom(ctx context.Context) *Task {
	task, _ := ctx.Value(taskKey{}).(*Task)
	return task
}

// ContextWithTask is for tests of handlers: TaskFrom finds the task in what it returns.
func ContextWithTask(ctx context.Context, task *Task) context.Context {
	return context.WithValue(ctx, taskKey{}, task)
}

// IdempotencyKey is <run id>:<step>:<index>, the same for every attempt: the key towards other systems.
func (t *Task) IdempotencyKey() string {
	return fmt.Sprintf("%s:%s:%d", t.GetRunId(), t.GetStep(), t.GetTaskIndex())
}

// Params decodes the step's constants.
func (t *Task) Params(into any) error {
	return decode([]byte(cmp.Or(string(t.GetParams()), "{}")), into)
}

// Progress tells how far the task is; the last report of a second is sent. The fraction is clamped to 0 to 1, the
// message for people cut at 200 characters.
func (t *Task) Progress(fraction float64, message string) {
	if t.session == nil {
		return
	}
	text := []rune(cut(message, messageBytes))
	t.session.report(t, &pb.TaskProgress{
		Token: t.GetToken(), Fraction: float32(min(1, max(0, fraction))), Message: string(text[:min(len(text), 200)]),
	})
}

// RunInput is the input of the run, which a map's tasks do not carry: asked for once per run and worker, and shared.
// It fails with ErrNotFound when the lease is not held any more.
func (t *Task) RunInput(ctx context.Context) (json.RawMessage, error) {
	if t.GetStepType() == Map {
		if t.session == nil {
			return nil, fmt.Errorf("stepgres: task %s has no worker", t.IdempotencyKey())
		}
		return t.session.inputs.get(ctx, t.GetRunId(), t.GetToken())
	}
	var input struct{ Run json.RawMessage }
	err := json.Unmarshal(t.GetInput(), &input)
	return input.Run, err
}

// Log is the worker's logger with the task's coordinates.
func (t *Task) Log() *slog.Logger {
	logger := slog.Default()
	if t.session != nil {
		logger = t.session.worker.options.Logger
	}
	return logger.With("run_id", t.GetRunId(), "flow", t.GetFlow(), "step", t.GetStep(), "index", t.GetTaskIndex(),
		"attempt", t.GetAttempt())
}

// runInputs asks for the input of a run once, whoever of its tasks asks first, and keeps the answer for the others.
type runInputs struct {
	client *Client

	mu    sync.Mutex
	calls map[string]*inputCall
	bytes int
}

// inputCall is a call under way, or, when done is closed, its answer.
type inputCall struct {
	done  chan struct{}
	input json.RawMessage
	err   error
}

func (r *runInputs) get(ctx context.Context, runID string, token []byte) (json.RawMessage, error) {
	for {
		r.mu.Lock()
		call, known := r.calls[runID]
		if !known {
			call = &inputCall{done: make(chan struct{})}
			r.calls[runID] = call
			// Not with the handler's context: a cancelled handler must not take the answer from the others.
			go r.ask(context.WithoutCancel(ctx), runID, call, token)
		}
		r.mu.Unlock()
		select {
		case <-call.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if known && errors.Is(call.err, ErrNotFound) {
			continue // the one who asked has lost its lease meanwhile; ours is another one
		}
		return call.input, call.err
	}
}

func (r *runInputs) ask(ctx context.Context, runID string, call *inputCall, token []byte) {
	answer, err := r.client.work.GetRunInput(ctx, &pb.GetRunInputRequest{Token: token})
	r.mu.Lock()
	defer r.mu.Unlock()
	call.input, call.err = answer.GetInput(), err
	close(call.done)
	if err != nil {
		delete(r.calls, runID)
		return
	}
	if r.bytes += len(call.input); r.bytes > keptInputBytes || len(r.calls) > keptInputs {
		clear(r.calls)
		r.bytes = 0
	}
}
