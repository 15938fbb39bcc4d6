package stepgres_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	stepgres "github.com/stepgres/stepgres/worker_sdk/go"
	pb "github.com/stepgres/stepgres/worker_sdk/go/stepgresv1"
)

// functions of the flow that executing has.
var functions = map[string]stepgres.Function{
	"fetch":  stepgres.Func(func(context.Context, any) ([]int, error) { return []int{1, 2}, nil }),
	"double": stepgres.Func(func(_ context.Context, in struct{ Item int }) (int, error) { return 2 * in.Item, nil }),
}

var quietly = stepgres.WorkerOptions{Logger: slog.New(slog.DiscardHandler)}

// answer is what Execute returned.
type answer struct {
	output string
	err    error
}

// executing is a coordinator with a flow, whose runs end when end says how.
func executing(t *testing.T) (c *coordinator, end chan *pb.Run, execute func(stepgres.RunSpec) <-chan answer) {
	c, end = newCoordinator(t), make(chan *pb.Run, 1)
	c.flows = map[string]*pb.Flow{"etl": {Slug: "etl", Version: 3, Steps: []*pb.Step{
		{Definition: &pb.StepDefinition{Slug: "fetch", Handler: "etl.fetch"}},
		{Definition: &pb.StepDefinition{Slug: "twice", Handler: "double"}},
	}}}
	c.runs.watch = func(_ int, _ *pb.WatchRunRequest, frames grpc.ServerStreamingServer[pb.WatchRunResponse]) error {
		select {
		case run := <-end:
			return frames.Send(&pb.WatchRunResponse{Frame: &pb.WatchRunResponse_End{End: run}})
		case <-frames.Context().Done():
			return nil
		}
	}
	client := c.client(stepgres.ClientOptions{})
	return c, end, func(spec stepgres.RunSpec) <-chan answer {
		done := make(chan answer, 1)
		go func() {
			output, err := client.Execute(t.Context(), spec, functions, quietly)
			done <- answer{string(output), err}
		}()
		return done
	}
}

func TestExecuteServesItsRunAloneAndReturnsTheOutput(t *testing.T) {
	c, end, execute := executing(t)
	done := execute(stepgres.RunSpec{Flow: "etl", Input: 7})
	st := c.next()
	st.welcome(nil)
	started, served := c.runs.started[0], st.hello.GetSubscriptions()[0]
	if started.GetVersion() != 3 || string(started.GetInput()) != "7" || !strings.HasPrefix(started.GetScope(), "execute-") {
		t.Errorf("it started %v", started)
	}
	var names []string
	for _, handler := range served.GetHandlers() {
		names = append(names, handler.GetName())
	}
	if served.GetScope() != started.GetScope() || !slices.Equal(names, []string{"etl.fetch", "double"}) {
		t.Errorf("it serves %v in the scope %s", names, served.GetScope())
	}
	st.tasks(task("1", "etl.fetch", "{}"), task("2", "double", `{"item": 4}`))
	results := st.results(2)
	if one, two := output(t, results["1"]), output(t, results["2"]); one != "[1,2]" || two != "8" {
		t.Errorf("the tasks made %s and %s", one, two)
	}
	st.recorded("1", "2")
	end <- &pb.Run{Status: pb.RunStatus_RUN_STATUS_COMPLETED, Output: []byte(`{"twice":[2,4]}`)}
	st.until("Goodbye", func(s seen) bool { return s.goodbye })
	if got := await(t, done, "the output"); got.err != nil || got.output != `{"twice":[2,4]}` {
		t.Errorf("it returned %v", got)
	}
}

func TestExecuteTellsHowItsRunFailed(t *testing.T) {
	c, end, execute := executing(t)
	done := execute(stepgres.RunSpec{Flow: "etl"})
	c.next().welcome(nil)
	end <- &pb.Run{Status: pb.RunStatus_RUN_STATUS_FAILED, Error: &pb.RunError{Step: "fetch", Code: "GONE"}}
	got := await(t, done, "the failure")
	if failed := (&stepgres.RunFailedError{}); !errors.As(got.err, &failed) || failed.GetStep() != "fetch" {
		t.Errorf("it returned %v", got)
	}
}

func TestExecuteEndsWhenItsWorkerIsRefused(t *testing.T) {
	c, _, execute := executing(t)
	done := execute(stepgres.RunSpec{Flow: "etl"})
	c.next().finish(status.Error(codes.PermissionDenied, "not you"))
	if got := await(t, done, "the refusal"); !errors.Is(got.err, &stepgres.Error{Code: codes.PermissionDenied}) {
		t.Errorf("it returned %v", got)
	}
}

func TestExecuteWithTheSameKeyServesTheSameScope(t *testing.T) {
	c, end, execute := executing(t)
	plan := &stepgres.Flow{Steps: []*stepgres.Step{{Slug: "fetch"}, {Slug: "double", StepType: stepgres.Map}}}
	specs := []stepgres.RunSpec{
		{Flow: "etl", IdempotencyKey: "k"}, {Flow: "etl", IdempotencyKey: "k"}, {Flow: "etl", IdempotencyKey: "other"},
		{Plan: plan, IdempotencyKey: "k"}, {Flow: "etl"}, {Flow: "etl"},
	}
	scopes := make(map[string]int)
	for n, spec := range specs {
		done := execute(spec)
		c.next().welcome(nil)
		end <- &pb.Run{Status: pb.RunStatus_RUN_STATUS_COMPLETED, Output: []byte("{}")}
		if got := await(t, done, "the output"); got.err != nil {
			t.Fatalf("%d: %v", n, got.err)
		}
		scopes[c.runs.started[n].GetScope()]++
	}
	// The scopes are those of the Python SDK, so that callers in both languages attach to one run.
	if len(scopes) != 5 || scopes["execute-684b0af8172233d5b5ee2c98296a8019"] != 2 || scopes["execute-89db2025f5b9227626cb1c8c3bb3f11f"] != 1 {
		t.Errorf("the scopes are %v", scopes)
	}
}

func TestExecuteStartsNothingUnlessEveryStepHasAFunction(t *testing.T) {
	c, _, _ := executing(t)
	client := c.client(stepgres.ClientOptions{})
	shared := &stepgres.Flow{Steps: []*stepgres.Step{{Slug: "a", Handler: "both"}, {Slug: "b", Handler: "both"}}}
	function := functions["fetch"]
	_, err := client.Execute(t.Context(), stepgres.RunSpec{Flow: "etl"}, map[string]stepgres.Function{"twice": function}, quietly)
	if missing := (&stepgres.MissingHandlersError{}); !errors.As(err, &missing) || missing.Flow != "etl" ||
		!slices.Equal(missing.Steps, []string{"fetch"}) {
		t.Errorf("a step without a function: %v", err)
	}
	for name, functions := range map[string]map[string]stepgres.Function{
		"a name that no step has":     {"both": function, "nobody": function},
		"a handler and two functions": {"a": function, "b": function},
	} {
		if _, err := client.Execute(t.Context(), stepgres.RunSpec{Plan: shared}, functions, quietly); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if len(c.runs.started) != 0 {
		t.Errorf("it started %v", c.runs.started)
	}
}
