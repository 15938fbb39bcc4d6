package stepgres_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	stepgres "github.com/stepgres/stepgres/worker_sdk/go"
	pb "github.com/stepgres/stepgres/worker_sdk/go/stepgresv1"
)

// held are the tokens that a Hello lists, sorted.
func held(hello *pb.Hello) []string {
	var tokens []string
	for _, token := range hello.GetHeldTokens() {
		tokens = append(tokens, string(token))
	}
	slices.Sort(tokens)
	return tokens
}

func TestResultsAreKeptUntilTheyAreAckedAndSentAgainAfterAReconnect(t *testing.T) {
	c, g := newCoordinator(t), newGate()
	w := c.worker(stepgres.WorkerOptions{Concurrency: 5})
	stepgres.Handle(w, "wait", g.wait)
	first := c.open(w)
	first.tasks(task("done", "wait", `"a"`), task("acked", "wait", `"a"`), task("running", "wait", `"b"`))
	g.open("a")
	first.results(2)
	first.recorded("acked")
	first.quiet()
	first.breakOff()

	second := c.next()
	if !bytes.Equal(second.hello.GetSessionId(), sessionID) ||
		!bytes.Equal(second.hello.GetInstanceId(), first.hello.GetInstanceId()) {
		t.Errorf("it did not resume its session: %v", second.hello)
	}
	if got := held(second.hello); !slices.Equal(got, []string{"done", "running"}) {
		t.Errorf("it holds %v", got)
	}
	second.welcome(nil)
	again := second.until("the result and credits", func(s seen) bool { return len(s.results) > 0 && s.credits > 0 })
	if string(again.results[0].GetToken()) != "done" || again.credits != 4 {
		t.Errorf("it sent %+v", again)
	}
	second.recorded("done")
	g.open("b")
	second.results(1)
	second.recorded("running")
	second.quiet()
	second.breakOff()

	third := c.next()
	if got := held(third.hello); len(got) != 0 {
		t.Errorf("it holds %v although all is acked", got)
	}
	third.welcome(nil)
}

func TestASessionThatWasNotResumedDropsWhatItHeld(t *testing.T) {
	c, g := newCoordinator(t), newGate()
	w := c.worker(stepgres.WorkerOptions{Concurrency: 2})
	ended := make(chan error, 1)
	stepgres.Handle(w, "wait", func(ctx context.Context, name string) (string, error) {
		_, err := g.wait(ctx, name)
		ended <- err
		return "", err
	})
	stepgres.Handle(w, "echo", echo)
	first := c.open(w)
	first.tasks(task("done", "echo", "{}"), task("running", "wait", `"never"`))
	await(t, g.entered, "the handler")
	first.results(1)
	first.breakOff()
	second := c.next()
	second.welcome(func(welcome *pb.Welcome) { welcome.Resumed, welcome.SessionId = false, []byte("fedcba9876543210") })
	if err := await(t, ended, "the handler's end"); !errors.Is(err, stepgres.ErrLeaseLost) {
		t.Errorf("the handler ended with %v", err)
	}
	all := second.until("both slots", func(s seen) bool { return s.credits == 2 })
	if more := second.quiet(); len(all.results)+len(more.results) != 0 {
		t.Errorf("it sent results of a session that is gone")
	}
}

func TestEveryVerdictButBusyIsFinal(t *testing.T) {
	c := newCoordinator(t)
	w := c.worker(stepgres.WorkerOptions{})
	stepgres.Handle(w, "echo", echo)
	first := c.open(w)
	var tasks []*pb.LeasedTask
	for _, token := range []string{"recorded", "stale", "duplicate", "rejected", "busy", "none"} {
		tasks = append(tasks, task(token, "echo", "{}"))
	}
	first.tasks(tasks...)
	first.results(6)
	first.acks(
		&pb.Ack{Token: []byte("recorded"), Verdict: pb.AckVerdict_ACK_VERDICT_RECORDED},
		&pb.Ack{Token: []byte("stale"), Verdict: pb.AckVerdict_ACK_VERDICT_STALE},
		&pb.Ack{Token: []byte("duplicate"), Verdict: pb.AckVerdict_ACK_VERDICT_DUPLICATE},
		&pb.Ack{Token: []byte("rejected"), Verdict: pb.AckVerdict_ACK_VERDICT_REJECTED},
		&pb.Ack{Token: []byte("unknown"), Verdict: pb.AckVerdict_ACK_VERDICT_RECORDED},
		&pb.Ack{Token: []byte("busy"), Verdict: pb.AckVerdict_ACK_VERDICT_BUSY, RetryAfterMs: 10},
	)
	first.results(1)["busy"].GetCompleted()
	first.acks(&pb.Ack{Token: []byte("busy"), Verdict: pb.AckVerdict_ACK_VERDICT_BUSY, RetryAfterMs: 3_600_000})
	first.quiet()
	first.breakOff()
	second := c.next()
	if got := held(second.hello); !slices.Equal(got, []string{"busy", "none"}) {
		t.Errorf("it holds %v", got)
	}
	second.welcome(nil)
	second.results(2)
}

func TestCancelledAndLostTasksStopAndSendNothing(t *testing.T) {
	for cause, send := range map[error]func(*work, ...[]byte){
		stepgres.ErrCancelled: func(st *work, tokens ...[]byte) {
			st.send(&pb.WorkResponse{Frame: &pb.WorkResponse_CancelTasks{CancelTasks: &pb.CancelTasks{Tokens: tokens}}})
		},
		stepgres.ErrLeaseLost: func(st *work, tokens ...[]byte) {
			st.send(&pb.WorkResponse{Frame: &pb.WorkResponse_LeaseLost{LeaseLost: &pb.LeaseLost{Tokens: tokens}}})
		},
	} {
		t.Run(cause.Error(), func(t *testing.T) {
			c, g := newCoordinator(t), newGate()
			w := c.worker(stepgres.WorkerOptions{Concurrency: 3})
			ended := make(chan error, 10)
			stepgres.Handle(w, "wait", func(ctx context.Context, name string) (string, error) {
				name, err := g.wait(ctx, name)
				ended <- err
				return name, err
			})
			stepgres.Handle(w, "echo", echo)
			st := c.open(w)
			st.granted(3)
			st.tasks(task("stopped", "wait", `"never"`), task("kept", "echo", "{}"), task("other", "wait", `"other"`))
			await(t, g.entered, "a handler")
			await(t, g.entered, "a handler")
			st.results(1)
			send(st, []byte("stopped"), []byte("kept"), []byte("unknown"))
			err := await(t, ended, "the handler's end")
			if !errors.Is(err, cause) || !errors.Is(err, context.Canceled) {
				t.Errorf("it ended with %v", err)
			}
			g.open("other")
			all := st.until("the other's result", func(s seen) bool { return len(s.results) > 0 })
			if string(all.results[0].GetToken()) != "other" {
				t.Errorf("it sent %v", all.results)
			}
			st.breakOff()
			next := c.next()
			if got := held(next.hello); !slices.Equal(got, []string{"other"}) {
				t.Errorf("it holds %v", got)
			}
			next.welcome(nil)
		})
	}
}

func TestADrainedWorkerMovesBeforeItLetsGo(t *testing.T) {
	c, g := newCoordinator(t), newGate()
	w := c.worker(stepgres.WorkerOptions{Concurrency: 4})
	stepgres.Handle(w, "wait", g.wait)
	stepgres.Handle(w, "echo", echo)
	old := c.open(w)
	old.granted(4)
	old.tasks(task("running", "wait", `"a"`), task("done", "echo", "{}"))
	await(t, g.entered, "the handler")
	old.results(1)
	old.drain()
	fresh := c.next() // while the old one lives
	if got := held(fresh.hello); !slices.Equal(got, []string{"done", "running"}) {
		t.Errorf("it holds %v", got)
	}
	old.recorded("done") // acks still count here
	old.tasks(task("late", "wait", `"late"`))
	fresh.welcome(nil)
	old.until("its end", func(s seen) bool { return s.closed })
	fresh.granted(3)
	g.open("a")
	if got := fresh.results(1); got["running"] == nil {
		t.Errorf("it sent %v", got)
	}
	select {
	case name := <-g.entered:
		t.Errorf("%s was executed although no Hello had listed it", name)
	default:
	}
}

func TestAMoveThatFailsLeavesTheOldStreamInUse(t *testing.T) {
	c, g := newCoordinator(t), newGate()
	w := c.worker(stepgres.WorkerOptions{Concurrency: 4})
	stepgres.Handle(w, "wait", g.wait)
	old := c.open(w)
	old.granted(4)
	old.drain()
	fresh := c.next()
	old.tasks(task("held back", "wait", `"a"`))
	fresh.breakOff()
	await(t, g.entered, "the task that waited")
	g.open("a")
	if all := old.until("its result", func(s seen) bool { return len(s.results) > 0 }); all.credits != 0 {
		t.Error("it asks a draining coordinator for more")
	}
	next := c.next()
	if got := held(next.hello); !slices.Equal(got, []string{"held back"}) {
		t.Errorf("it holds %v", got)
	}
	next.welcome(nil)
	next.results(1)
}

func TestAStopFinishesWhatRunsAndSaysGoodbye(t *testing.T) {
	c, g := newCoordinator(t), newGate()
	w := c.worker(stepgres.WorkerOptions{Concurrency: 2})
	stepgres.Handle(w, "wait", g.wait)
	stepgres.Handle(w, "echo", echo)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Serve(ctx) }()
	st := c.next()
	st.welcome(nil)
	st.granted(2)
	st.tasks(task("1", "wait", `"a"`))
	await(t, g.entered, "the handler")
	cancel()
	// The stop is known when a task that comes is handed back.
	for stopped := false; !stopped; {
		st.tasks(task("late", "echo", "{}"))
		result := st.results(1)["late"]
		st.recorded("late")
		stopped = result.GetReleased() != nil
	}
	if more := st.quiet(); more.credits != 0 {
		t.Errorf("it asks for %d more tasks", more.credits)
	}
	g.open("a")
	all := st.until("the result", func(s seen) bool { return len(s.results) > 0 })
	if all.goodbye || output(t, all.results[0]) != `"a"` {
		t.Fatalf("it sent %+v", all)
	}
	st.recorded("1")
	st.until("Goodbye", func(s seen) bool { return s.goodbye })
	st.until("the half-close", func(s seen) bool { return s.closed })
	if err := await(t, done, "the end"); err != nil {
		t.Errorf("Serve returned %v", err)
	}
}

func TestAStopNowHandsBackWhatRuns(t *testing.T) {
	c, g := newCoordinator(t), newGate()
	w := c.worker(stepgres.WorkerOptions{})
	ended := make(chan error, 1)
	stepgres.Handle(w, "wait", func(ctx context.Context, name string) (string, error) {
		_, err := g.wait(ctx, name)
		ended <- err
		return "", err
	})
	done := c.serve(w)
	st := c.next()
	st.welcome(nil)
	st.tasks(task("1", "wait", `"never"`))
	await(t, g.entered, "the handler")
	w.StopNow()
	all := st.until("Goodbye", func(s seen) bool { return s.goodbye })
	if len(all.results) != 1 || all.results[0].GetReleased() == nil {
		t.Errorf("it sent %v", all.results)
	}
	if err := await(t, ended, "the handler's end"); !errors.Is(err, stepgres.ErrReleased) {
		t.Errorf("the handler ended with %v", err)
	}
	if err := await(t, done, "the end"); err != nil {
		t.Errorf("Serve returned %v", err)
	}
}

func TestADrainThatTakesTooLongHandsBackWhatRuns(t *testing.T) {
	c, g := newCoordinator(t), newGate()
	w := c.worker(stepgres.WorkerOptions{DrainTimeout: time.Millisecond})
	stepgres.Handle(w, "wait", g.wait)
	done := c.serve(w)
	st := c.next()
	st.welcome(nil)
	st.tasks(task("1", "wait", `"never"`))
	await(t, g.entered, "the handler")
	w.Stop()
	if all := st.until("Goodbye", func(s seen) bool { return s.goodbye }); all.results[0].GetReleased() == nil {
		t.Errorf("it sent %v", all.results)
	}
	await(t, done, "the end")
}

func TestAStopWhileHelloIsOnItsWaySaysGoodbyeThere(t *testing.T) {
	c := newCoordinator(t)
	w := c.worker(stepgres.WorkerOptions{})
	stepgres.Handle(w, "echo", echo)
	done := c.serve(w)
	st := c.next()
	w.Stop()
	st.welcome(nil)
	st.until("Goodbye", func(s seen) bool { return s.goodbye })
	await(t, done, "the end")
}

func TestAStopWithoutACoordinatorEnds(t *testing.T) {
	c := newCoordinator(t)
	c.listener.Close()
	w := c.worker(stepgres.WorkerOptions{})
	stepgres.Handle(w, "echo", echo)
	done := c.serve(w)
	w.Stop()
	if err := await(t, done, "the end"); err != nil {
		t.Errorf("Serve returned %v", err)
	}
}

func TestARefusedHelloEndsTheWorker(t *testing.T) {
	c := newCoordinator(t)
	w := c.worker(stepgres.WorkerOptions{})
	stepgres.Handle(w, "bad name", echo)
	done := c.serve(w)
	c.next().finish(status.Error(codes.InvalidArgument, "handlers[0].name: has a blank"))
	if err := await(t, done, "the end"); !errors.Is(err, stepgres.ErrInvalidArgument) {
		t.Errorf("Serve returned %v", err)
	}
}

func TestASilentWorkerBeats(t *testing.T) {
	c := newCoordinator(t)
	w := c.worker(stepgres.WorkerOptions{})
	stepgres.Handle(w, "echo", echo)
	c.serve(w)
	st := c.next()
	st.welcome(func(welcome *pb.Welcome) { welcome.HeartbeatMs = 30 })
	st.until("two heartbeats", func(s seen) bool { return len(s.beats) >= 2 })
}

func TestProgressTravelsWithHeartbeats(t *testing.T) {
	c, g := newCoordinator(t), newGate()
	w := c.worker(stepgres.WorkerOptions{})
	stepgres.Handle(w, "work", func(ctx context.Context, name string) (string, error) {
		stepgres.TaskFrom(ctx).Progress(0.1, "begun")
		stepgres.TaskFrom(ctx).Progress(7, strings.Repeat("é", 300))
		return g.wait(ctx, name)
	})
	c.serve(w)
	st := c.next()
	st.welcome(func(welcome *pb.Welcome) { welcome.HeartbeatMs = 60 })
	st.tasks(task("1", "work", `"a"`))
	beats := st.until("progress", func(s seen) bool {
		return len(s.beats) > 0 && len(s.beats[len(s.beats)-1].GetProgress()) > 0
	}).beats
	report := beats[len(beats)-1].GetProgress()[0]
	if string(report.GetToken()) != "1" || report.GetFraction() != 1 || report.GetMessage() != strings.Repeat("é", 200) {
		t.Errorf("it reported %v", report)
	}
	g.open("a")
	st.results(1)
}

func TestFramesThatItDoesNotKnowAreIgnored(t *testing.T) {
	c := newCoordinator(t)
	w := c.worker(stepgres.WorkerOptions{})
	stepgres.Handle(w, "echo", echo)
	st := c.open(w)
	unknown := new(pb.WorkResponse)
	if err := proto.Unmarshal([]byte{0xa2, 0x06, 0x03, 'n', 'e', 'w'}, unknown); err != nil {
		t.Fatal(err)
	}
	st.send(unknown)
	st.send(&pb.WorkResponse{})
	st.tasks(task("1", "echo", "{}"))
	st.results(1)
}

func TestFramesAreCutAtTheirLimits(t *testing.T) {
	const count = 1200
	c, g := newCoordinator(t), newGate()
	w := c.worker(stepgres.WorkerOptions{Concurrency: count})
	stepgres.Handle(w, "wait", g.wait)
	text, _ := json.Marshal(strings.Repeat("x", 3000))
	stepgres.Handle(w, "big", func(context.Context, json.RawMessage) (json.RawMessage, error) { return text, nil })
	c.serve(w)
	first := c.next()
	first.welcome(nil)
	var tasks []*pb.LeasedTask
	for n := range count {
		tasks = append(tasks, task(fmt.Sprint(n), "wait", `"a"`))
	}
	first.tasks(tasks...)
	first.breakOff()
	g.open("a")
	for range count {
		await(t, g.entered, "a handler")
	}
	second := c.next()
	second.welcome(nil)
	for _, size := range second.until("all results", func(s seen) bool { return len(s.results) >= count }).batches {
		if size > 500 {
			t.Errorf("a frame holds %d results", size)
		}
	}
	for n := range count {
		second.recorded(fmt.Sprint(n))
	}
	second.breakOff()
	third := c.next()
	third.welcome(func(welcome *pb.Welcome) { welcome.MaxFrameBytes = 10_000 })
	third.tasks(task("a", "big", "{}"), task("b", "big", "{}"), task("c", "big", "{}"), task("d", "big", "{}"))
	for _, size := range third.until("four results", func(s seen) bool { return len(s.results) == 4 }).batches {
		if size > 3 {
			t.Errorf("a frame of at most 10,000 bytes holds %d results of 3,000", size)
		}
	}
}

func TestResultsThatNobodyAnswersGoToAnotherStream(t *testing.T) {
	c := newCoordinator(t)
	w := c.worker(stepgres.WorkerOptions{})
	stepgres.Handle(w, "echo", echo)
	c.serve(w)
	st := c.next()
	st.welcome(func(welcome *pb.Welcome) { welcome.LeaseMs, welcome.HeartbeatMs = 100, 30 })
	st.tasks(task("1", "echo", "{}"))
	next := c.next()
	if got := held(next.hello); !slices.Equal(got, []string{"1"}) {
		t.Errorf("it holds %v", got)
	}
	next.welcome(nil)
}

func TestATaskThatComesTwiceIsExecutedOnce(t *testing.T) {
	c, g := newCoordinator(t), newGate()
	w := c.worker(stepgres.WorkerOptions{})
	stepgres.Handle(w, "wait", g.wait)
	st := c.open(w)
	st.tasks(task("1", "wait", `"a"`), task("1", "wait", `"a"`))
	await(t, g.entered, "the handler")
	g.open("a")
	st.results(1)
	st.tasks(task("1", "wait", `"a"`))
	st.quiet()
	if len(g.entered) != 0 {
		t.Error("it was executed again")
	}
}
