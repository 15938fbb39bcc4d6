package stepgres

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	pb "github.com/stepgres/stepgres/worker_sdk/go/stepgresv1"
)

// Execute runs a flow in this process: it starts the run, serves its tasks here and nowhere else, and returns its output
// as [Run.Result] does. It never takes another run's task, and no other worker takes this one's.
//
// spec names a flow, or has a plan, of which nothing stays but the run; its scope is not used. functions has one for each
// step, by the step's slug or by its handler's name; [Func] makes them. The same idempotency key attaches to the run that
// it started, or returns its output, whichever process asks. options are those of the worker, whose scope is the run's.
//
// It fails with *[MissingHandlersError] before anything is started, with *[RunFailedError], *[RunCancelledError], or the
// context's error: the run goes on then, and another call with the same key attaches to it.
func (c *Client) Execute(
	ctx context.Context, spec RunSpec, functions map[string]Function, options WorkerOptions,
) (json.RawMessage, error) {
	steps, err := c.prepare(ctx, &spec)
	if err != nil {
		return nil, err
	}
	options.Scope = spec.Scope
	worker := NewWorker(c, options)
	if err := worker.handleSteps(spec.Flow, steps, functions); err != nil {
		return nil, err
	}
	run, err := c.StartRun(ctx, spec)
	if err != nil {
		return nil, err
	}
	if len(steps) == 0 { // it ends by itself
		return run.Result(ctx)
	}
	serving, ended := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended(worker.Serve(context.WithoutCancel(ctx)))
	}()
	output, err := run.Result(serving)
	if err != nil && serving.Err() != nil && ctx.Err() == nil {
		err = context.Cause(serving) // a worker only ends first when it was refused
	}
	worker.StopNow()
	<-done
	return output, err
}

// prepare finds the steps of what is to be executed, and gives it a scope of its own: random, or derived from the key so
// that a second caller serves the same run.
func (c *Client) prepare(ctx context.Context, spec *RunSpec) ([]*Step, error) {
	steps, keysOf := spec.Plan.GetSteps(), "plan:" // keys of plans are those of all plans, and no flow has this name
	if spec.Plan == nil {
		answer, err := c.GetFlow(ctx, &pb.GetFlowRequest{Flow: spec.Flow, Version: int32(spec.Version)})
		if err != nil {
			return nil, err
		}
		spec.Version, keysOf = int(answer.GetFlow().GetVersion()), spec.Flow
		for _, step := range answer.GetFlow().GetSteps() {
			steps = append(steps, step.GetDefinition())
		}
	}
	spec.Scope = "execute-" + rand.Text()
	if spec.IdempotencyKey != "" {
		digest := sha256.Sum256([]byte(keysOf + "\n" + spec.IdempotencyKey))
		spec.Scope = fmt.Sprintf("execute-%x", digest[:16])
	}
	return steps, nil
}

// handleSteps binds a function to the handler of each step.
func (w *Worker) handleSteps(flow string, steps []*Step, functions map[string]Function) error {
	known := make(map[string]bool)
	chosen := make(map[string]string) // under which name the function of a handler was given
	var missing []string
	for _, step := range steps {
		name, handler := step.GetSlug(), cmp.Or(step.GetHandler(), step.GetSlug())
		known[name], known[handler] = true, true
		if functions[name] == nil {
			name = handler
		}
		switch {
		case functions[name] == nil:
			missing = append(missing, step.GetSlug())
		case chosen[handler] == "":
			chosen[handler] = name
			w.handle(handler, functions[name])
		case chosen[handler] != name:
			return fmt.Errorf("stepgres: functions: steps share the handler %s; give one function, under this name", handler)
		}
	}
	for name := range functions {
		if !known[name] {
			return fmt.Errorf("stepgres: functions: no step or handler of the flow is named %s", name)
		}
	}
	if missing != nil {
		return &MissingHandlersError{Flow: flow, Steps: missing}
	}
	return nil
}
