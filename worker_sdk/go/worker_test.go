package stepgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	stepgres "github.com/stepgres/stepgres/worker_sdk/go"
	pb "github.com/stepgres/stepgres/worker_sdk/go/stepgresv1"
)

func TestAWorkerNeverHasMoreTasksThanSlotsAndRefillsEachSlotAlone(t *testing.T) {
	c, g := newCoordinator(t), newGate()
	w := c.worker(stepgres.WorkerOptions{Concurrency: 3})
	stepgres.Handle(w, "wait", g.wait)
	st := c.open(w)
	st.granted(3)
	st.tasks(task("1", "wait", `"a"`), task("2", "wait", `"b"`), task("3", "wait", `"c"`))
	for range 3 {
		await(t, g.entered, "a handler")
	}
	if extra := st.quiet(); extra.credits != 0 {
		t.Fatalf("%d credits granted while all slots are in use", extra.credits)
	}
	g.open("b")
	one := st.until("a result and a credit", func(s seen) bool { return len(s.results) > 0 && s.credits > 0 })
	if one.credits != 1 || string(one.results[0].GetToken()) != "2" {
		t.Fatalf("the freed slot was not refilled alone: %+v", one)
	}
	if rest := st.quiet(); rest.credits != 0 || len(rest.results) != 0 {
		t.Fatalf("more came: %+v", rest)
	}
	g.open("a")
	g.open("c")
	st.until("the rest", func(s seen) bool { return len(s.results) == 2 && s.credits == 2 })
}

func TestCreditsAreCutToTheLimitOfTheSession(t *testing.T) {
	c := newCoordinator(t)
	w := c.worker(stepgres.WorkerOptions{Concurrency: 100})
	stepgres.Handle(w, "echo", echo)
	c.serve(w)
	st := c.next()
	st.welcome(func(welcome *pb.Welcome) { welcome.MaxCredits = 7 })
	st.granted(7)
}

func TestHelloTellsWhatIsServed(t *testing.T) {
	c := newCoordinator(t)
	w := c.worker(stepgres.WorkerOptions{Name: "me", Scope: "blue"})
	stepgres.Handle(w, "echo", echo, stepgres.Describe("Returns it."), stepgres.Schemas(`{"type": "object"}`, "", ""))
	stepgres.Handle(w, "again", echo)
	st := c.open(w)
	hello := st.hello
	subscription := hello.GetSubscriptions()[0]
	if hello.GetWorker() != "me" || len(hello.GetInstanceId()) != 16 || hello.GetSdkLanguage() != "go" ||
		hello.GetMaxProtocolVersion() != 1 || len(hello.GetSessionId()) != 0 || subscription.GetScope() != "blue" {
		t.Errorf("Hello is %v", hello)
	}
	if h := subscription.GetHandlers(); len(h) != 2 || h[0].GetName() != "echo" || h[0].GetDescription() != "Returns it." ||
		string(h[0].GetParamsSchema()) != `{"type": "object"}` {
		t.Errorf("handlers are %v", h)
	}
	await(t, w.Ready(), "readiness")
}

func TestATaskKnowsItsCoordinates(t *testing.T) {
	c := newCoordinator(t)
	w := c.worker(stepgres.WorkerOptions{})
	stepgres.Handle(w, "tell", func(ctx context.Context, input struct{ Item int }) (string, error) {
		task := stepgres.TaskFrom(ctx)
		var params struct{ Account string }
		err := task.Params(&params)
		_, limited := ctx.Deadline()
		return fmt.Sprint(task.IdempotencyKey(), " ", task.Attempt, " ", task.Flow, " ", task.Version, " ", task.Handler, " ",
			task.Scope, " ", task.Traceparent, " ", params.Account, " ", input.Item, " ", limited), err
	})
	st := c.open(w)
	st.tasks(task("1", "tell", `{"item": 5, "index": 3}`, func(l *pb.LeasedTask) {
		l.TaskIndex, l.Attempt, l.Params, l.Scope, l.Traceparent = 3, 2, []byte(`{"account": "x"}`), "blue", "00-1"
		l.StepType = pb.StepType_STEP_TYPE_MAP
	}))
	if got := output(t, st.results(1)["1"]); got != `"run-1:step:3 2 flow 1 tell blue 00-1 x 5 true"` {
		t.Error(got)
	}
}

func TestNumbersAndTextsStayExact(t *testing.T) {
	c := newCoordinator(t)
	w := c.worker(stepgres.WorkerOptions{})
	stepgres.Handle(w, "any", func(_ context.Context, input any) (any, error) { return input, nil })
	stepgres.Handle(w, "raw", echo)
	st := c.open(w)
	const text = `{"big":9007199254740993,"huge":1e400,"long":123456789012345678901234567890,"text":"<é&\"\n>"}`
	st.tasks(task("1", "any", text), task("2", "raw", text), task("3", "any", "null"))
	results := st.results(3)
	if got := output(t, results["1"]); got != text {
		t.Error(got)
	}
	if got := output(t, results["2"]); got != text {
		t.Error(got)
	}
	if got := output(t, results["3"]); got != "null" {
		t.Error(got)
	}
}

type broken struct{}

func (broken) MarshalJSON() ([]byte, error) { panic("no way") }

func TestEachWayToFailIsTold(t *testing.T) {
	c := newCoordinator(t)
	w := c.worker(stepgres.WorkerOptions{})
	cause := errors.New("the line is dead")
	bad := map[string]func() (any, error){
		"plain": func() (any, error) { return nil, errors.New("boom\x00\xff") },
		"told": func() (any, error) {
			return nil, &stepgres.TaskError{Code: "BUSY", Message: "later", RetryAfter: new(1500 * time.Millisecond)}
		},
		"wrapped": func() (any, error) {
			return nil, fmt.Errorf("charging: %w", &stepgres.TaskError{Code: "CARD", NonRetryable: true, Err: cause})
		},
		"panics":  func() (any, error) { panic("boom") },
		"nil":     func() (any, error) { var m map[string]int; m["x"] = 1; return nil, nil },
		"channel": func() (any, error) { return make(chan int), nil },
		"broken":  func() (any, error) { return broken{}, nil },
		"large":   func() (any, error) { return strings.Repeat("x", 1<<20), nil },
		"long":    func() (any, error) { return nil, errors.New(strings.Repeat("é", 8<<10)) },
	}
	for name, function := range bad {
		stepgres.Handle(w, name, func(context.Context, struct{}) (any, error) { return function() })
	}
	stepgres.Handle(w, "typed", func(_ context.Context, input struct{ N int }) (any, error) { return input.N, nil })
	st := c.open(w)
	st.tasks(task("typed", "typed", `{"n": "text"}`))
	for name := range bad {
		st.tasks(task(name, name, `{}`))
	}
	results := st.results(len(bad) + 1)
	for name, want := range map[string]string{
		"plain":   "HANDLER_ERROR true boom\ufffd\ufffd",
		"told":    "BUSY true later",
		"wrapped": "CARD false charging: the line is dead",
		"panics":  "HANDLER_ERROR true panic: boom",
		"nil":     "HANDLER_ERROR true panic: assignment to entry in nil map",
		"channel": "INVALID_OUTPUT false the handler returned a chan int, which is not JSON: json: unsupported type: chan int",
		"broken":  "HANDLER_ERROR true panic: no way",
		"large":   "OUTPUT_TOO_LARGE false the output has 1048578 bytes, allowed are 1048576; store it elsewhere and return a reference",
		"long":    "HANDLER_ERROR true " + strings.Repeat("é", 4<<10),
		"typed":   "INVALID_INPUT false the input cannot be decoded: json: cannot unmarshal string into Go struct field .N of type int",
	} {
		failed := failure(t, results[name])
		if got := fmt.Sprint(failed.GetCode(), " ", !failed.GetNonRetryable(), " ", failed.GetMessage()); got != want {
			t.Errorf("%s: %q, wanted %q", name, got, want)
		}
	}
	if after := failure(t, results["told"]).RetryAfterMs; after == nil || *after != 1500 {
		t.Errorf("retry_after_ms is %v", after)
	}
	if failure(t, results["plain"]).RetryAfterMs != nil {
		t.Error("a plain error has a retry_after")
	}
	if details := failure(t, results["panics"]).GetDetails(); !strings.Contains(details, "worker_test.go") ||
		strings.Contains(details, "debug.Stack") || len(details) > 8<<10 {
		t.Errorf("the stack is %q", details)
	}
	if details := failure(t, results["wrapped"]).GetDetails(); details != cause.Error() {
		t.Errorf("the cause is %q", details)
	}
}

func TestAHandlerPastItsDeadlineFailsAtOnceAndKeepsItsSlotUntilItReturns(t *testing.T) {
	c := newCoordinator(t)
	w := c.worker(stepgres.WorkerOptions{Concurrency: 1})
	late, release := make(chan error, 1), make(chan struct{})
	stepgres.Handle(w, "stubborn", func(ctx context.Context, _ any) (any, error) {
		<-ctx.Done()
		late <- ctx.Err()
		<-release
		return "too late", nil
	})
	st := c.open(w)
	st.granted(1)
	st.tasks(task("1", "stubborn", "{}", func(l *pb.LeasedTask) { l.TimeoutS = 1 }))
	all := st.until("a result", func(s seen) bool { return len(s.results) > 0 })
	if f := failure(t, all.results[0]); f.GetCode() != "TIMEOUT" || f.GetNonRetryable() || f.GetMessage() != "the handler took longer than 1s" {
		t.Errorf("it failed with %v", f)
	}
	if err := await(t, late, "the handler's end"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("its context ended with %v", err)
	}
	st.recorded("1")
	if rest := st.quiet(); rest.credits != 0 || len(rest.results) != 0 {
		t.Fatalf("its slot was given away: %+v", rest)
	}
	close(release)
	if rest := st.until("a credit", func(s seen) bool { return s.credits > 0 }); len(rest.results) != 0 {
		t.Fatalf("a late result was sent: %v", rest.results)
	}
}

func TestAHandlerThatReturnsBecauseOfItsDeadlineTimedOut(t *testing.T) {
	c, g := newCoordinator(t), newGate()
	w := c.worker(stepgres.WorkerOptions{})
	stepgres.Handle(w, "wait", g.wait)
	st := c.open(w)
	for n := range 20 {
		st.tasks(task(fmt.Sprint(n), "wait", `"never"`, func(l *pb.LeasedTask) { l.TimeoutS = 1 }))
	}
	for token, result := range st.results(20) {
		if f := failure(t, result); f.GetCode() != "TIMEOUT" {
			t.Errorf("%s failed with %v", token, f)
		}
	}
}

func TestTheInputOfARunIsAskedForOnce(t *testing.T) {
	c := newCoordinator(t)
	arrived, answer := make(chan struct{}, 10), make(chan struct{})
	c.runInput = func([]byte) ([]byte, error) {
		arrived <- struct{}{}
		<-answer
		return []byte("[1,2]"), nil
	}
	w := c.worker(stepgres.WorkerOptions{})
	asking := make(chan struct{}, 10)
	stepgres.Handle(w, "input", func(ctx context.Context, _ any) (any, error) {
		asking <- struct{}{}
		return stepgres.TaskFrom(ctx).RunInput(ctx)
	})
	st := c.open(w)
	mapped := func(l *pb.LeasedTask) { l.StepType = pb.StepType_STEP_TYPE_MAP }
	for _, token := range []string{"1", "2", "3"} {
		st.tasks(task(token, "input", `{"item":1,"index":0}`, mapped))
	}
	for range 3 {
		await(t, asking, "a handler")
	}
	await(t, arrived, "a call")
	close(answer)
	for token, result := range st.results(3) {
		if got := output(t, result); got != "[1,2]" {
			t.Errorf("%s got %s", token, got)
		}
	}
	st.tasks(task("4", "input", `{"run":{"x":1},"dep":2}`), task("5", "input", `{"item":2,"index":1}`, mapped))
	results := st.results(2)
	if got := output(t, results["4"]); got != `{"x":1}` {
		t.Errorf("a single step's own input told %s", got)
	}
	output(t, results["5"])
	if c.runInputs != 1 {
		t.Errorf("it was asked for %d times", c.runInputs)
	}
}

func TestOneTaskThatLostItsLeaseDoesNotTakeTheInputFromTheOthers(t *testing.T) {
	c := newCoordinator(t)
	refuse := make(chan struct{})
	c.runInput = func(token []byte) ([]byte, error) {
		if string(token) == "lost" {
			<-refuse
			return nil, status.Error(codes.NotFound, "the lease is not held any more")
		}
		return []byte(`"here"`), nil
	}
	w := c.worker(stepgres.WorkerOptions{})
	asking := make(chan struct{}, 10)
	stepgres.Handle(w, "input", func(ctx context.Context, _ any) (any, error) {
		asking <- struct{}{}
		return stepgres.TaskFrom(ctx).RunInput(ctx)
	})
	st := c.open(w)
	mapped := func(l *pb.LeasedTask) { l.StepType = pb.StepType_STEP_TYPE_MAP }
	st.tasks(task("lost", "input", "{}", mapped))
	await(t, asking, "the first")
	st.tasks(task("held", "input", "{}", mapped))
	await(t, asking, "the second")
	close(refuse)
	results := st.results(2)
	if got := output(t, results["held"]); got != `"here"` {
		t.Error(got)
	}
	failure(t, results["lost"])
}

func TestAnUnknownHandlerIsReleased(t *testing.T) {
	c := newCoordinator(t)
	w := c.worker(stepgres.WorkerOptions{})
	stepgres.Handle(w, "echo", echo)
	st := c.open(w)
	st.tasks(task("1", "nobody", "{}"))
	if result := st.results(1)["1"]; result.GetReleased() == nil {
		t.Errorf("it was %v", result)
	}
}

func TestMistakesOfTheProgramPanicWhereTheyAreMade(t *testing.T) {
	c := newCoordinator(t)
	w := c.worker(stepgres.WorkerOptions{})
	stepgres.Handle(w, "echo", echo)
	for name, mistake := range map[string]func(){
		"the same name twice": func() { stepgres.Handle(w, "echo", echo) },
		"no function":         func() { stepgres.Func[any, any](nil) },
		"after the start": func() {
			c.open(w)
			stepgres.Handle(w, "late", echo)
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s did not panic", name)
				}
			}()
			mistake()
		}()
	}
	if err := c.worker(stepgres.WorkerOptions{}).Serve(t.Context()); err == nil {
		t.Error("a worker without handlers serves")
	}
}
