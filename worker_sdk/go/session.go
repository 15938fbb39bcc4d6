package stepgres

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/stepgres/stepgres/worker_sdk/go/stepgresv1"
)

const (
	protocolVersion = 1
	resultsPerFrame = 500
	// resultOverhead are the most bytes of a result in a frame beside its own: tag and length.
	resultOverhead = 8
	// cutBytes is where frames are cut even where the coordinator would take larger ones.
	cutBytes = 1 << 20
	// maxKept is how many results may wait for their acks, or twice the concurrency, until no more tasks are asked for.
	maxKept = 1000
)

// session is one worker's session over all its streams: frames in, frames out, state in between.
//
// States of a lease: received ─▶ executing (tasks) ─▶ result kept (kept) ─▶ acknowledged (gone). The slot of a task and
// its lease end independently: a handler past its deadline keeps its slot until it returns, although its failure is on
// its way; a result that waits for its ack needs no slot.
type session struct {
	worker   *Worker
	instance []byte
	inputs   *runInputs
	// settled is done when the worker stops, nothing executes, and nothing waits for an ack.
	settled context.Context
	settle  context.CancelFunc
	// base is what the contexts of handlers are made from; it is never cancelled.
	base context.Context
	// running counts handlers that have not returned.
	running sync.WaitGroup

	mu sync.Mutex
	// current is the stream that carries the session, or did so last; before the first it is one that is none.
	current *stream
	// tasks are executing, kept are results without an ack, each by its token.
	tasks map[string]*Task
	kept  map[string]*pb.Result
	// progress is what handlers have reported since the last heartbeat.
	progress map[string]*pb.TaskProgress
	// busy are the slots in use, also by handlers whose result nobody wants any more.
	busy int
}

func (w *Worker) newSession(ctx context.Context) *session {
	s := &session{
		worker:   w,
		instance: make([]byte, 16),
		inputs:   &runInputs{client: w.client, calls: make(map[string]*inputCall)},
		base:     context.WithoutCancel(ctx),
		current:  new(stream),
		tasks:    make(map[string]*Task),
		kept:     make(map[string]*pb.Result),
		progress: make(map[string]*pb.TaskProgress),
	}
	rand.Read(s.instance) // never fails
	s.settled, s.settle = context.WithCancel(s.base)
	return s
}

// ------------------------------------------------------------------------------------------------------- streams

// greet is the first frame of a stream: it opens the session, or resumes it with all that is held. From here on tasks
// that come on the stream before are not in the list, so they wait there: see stream.receive.
func (s *session) greet() *pb.WorkRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.superseded = true
	options := &s.worker.options
	hello := &pb.Hello{
		Worker: cut(options.Name, 200), InstanceId: s.instance, SdkLanguage: "go", SdkVersion: Version,
		MinProtocolVersion: protocolVersion, MaxProtocolVersion: protocolVersion,
		Subscriptions:    []*pb.Subscription{{Scope: options.Scope, Handlers: s.worker.catalogue}},
		ReconnectGraceMs: int32(options.ReconnectGrace.Milliseconds()),
		SessionId:        s.current.welcome.GetSessionId(),
	}
	if len(hello.SessionId) > 0 {
		hello.HeldTokens = s.held()
	}
	return &pb.WorkRequest{Frame: &pb.WorkRequest_Hello{Hello: hello}}
}

// restore: a newer stream came to nothing. The tasks that waited on the present one are ours after all.
func (s *session) restore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.superseded = false
	s.receiveTasks(s.current, s.current.heldBack)
	s.current.heldBack = nil
}

// attach makes a welcomed stream the session's: credits begin anew, and all kept results are sent again.
func (s *session) attach(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.current.welcome.GetSessionId()) > 0 && !st.welcome.GetResumed() {
		s.drop(s.held(), ErrLeaseLost)
	}
	s.current = st
	st.outbox = slices.Collect(maps.Keys(s.kept))
	st.wake()
}

// ------------------------------------------------------------------------------------- frames in; the caller holds mu

// receiveTasks starts leased tasks; each uses up a credit.
func (s *session) receiveTasks(st *stream, tasks []*pb.LeasedTask) {
	now := time.Now()
	for _, leased := range tasks {
		token := string(leased.GetToken())
		st.credits = max(0, st.credits-1)
		if s.tasks[token] != nil || s.kept[token] != nil {
			continue
		}
		function := s.worker.functions[leased.GetHandler()]
		if function == nil || s.worker.stopping.Err() != nil {
			s.keep(released(leased.GetToken()))
			continue
		}
		task := &Task{LeasedTask: leased, session: s, maxOutput: st.welcome.GetMaxOutputBytes()}
		var ctx context.Context
		ctx, task.cancel = context.WithCancelCause(ContextWithTask(s.base, task))
		s.tasks[token] = task
		s.busy++
		s.running.Go(func() { s.execute(ctx, task, function, now) })
	}
	s.wake()
}

// receiveAcks forgets what is committed or refused; what was BUSY is sent again later, on this stream.
func (s *session) receiveAcks(st *stream, acks []*pb.Ack) {
	for _, ack := range acks {
		token := string(ack.GetToken())
		if ack.GetVerdict() == pb.AckVerdict_ACK_VERDICT_BUSY {
			time.AfterFunc(time.Duration(ack.GetRetryAfterMs())*time.Millisecond, func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				st.outbox = append(st.outbox, token)
				st.wake()
			})
			continue
		}
		if ack.GetVerdict() == pb.AckVerdict_ACK_VERDICT_REJECTED {
			s.worker.options.Logger.Warn("stepgres: a result was refused",
				"reason", ack.GetReason(), "message", ack.GetMessage())
		}
		delete(s.kept, token)
	}
	s.wake()
}

// drop stops handlers and forgets results that nobody wants.
func (s *session) drop(tokens [][]byte, cause error) {
	stopped := 0
	for _, token := range tokens {
		if task := s.tasks[string(token)]; task != nil {
			task.cancel(cause)
			delete(s.tasks, string(token))
			stopped++
		}
		delete(s.kept, string(token))
	}
	if stopped > 0 && cause == ErrLeaseLost {
		s.worker.options.Logger.Warn("stepgres: leases are lost; their handlers are told to stop", "count", stopped)
	}
	s.wake()
}

// --------------------------------------------------------------------------------------------------- from handlers

// execute calls the handler and keeps what it made. When its time is up its failure goes out at once, and its slot is
// free when it returns.
func (s *session) execute(ctx context.Context, task *Task, function Function, received time.Time) {
	defer task.cancel(nil)
	timeout := time.Duration(task.GetTimeoutS()) * time.Second
	timedOut := &TaskError{Code: "TIMEOUT", Message: fmt.Sprintf("the handler took longer than %v", timeout)}
	ctx, release := context.WithDeadline(ctx, received.Add(timeout))
	defer release()
	defer context.AfterFunc(ctx, func() {
		if ctx.Err() == context.DeadlineExceeded {
			s.finish(task, nil, timedOut, 0)
		}
	})()
	output, err := function.run(ctx, task.GetInput())
	if ctx.Err() == context.DeadlineExceeded { // the handler's own error is only that
		err = timedOut
	}
	s.finish(task, output, err, 1)
}

// finish frees slots, and keeps the result of a lease unless that is over already.
func (s *session) finish(task *Task, output []byte, err error, slots int) {
	token := string(task.GetToken())
	result := outcome(task.GetToken(), output, err, task.maxOutput)
	s.mu.Lock()
	s.busy -= slots
	wanted := s.tasks[token] == task
	if wanted {
		delete(s.tasks, token)
		s.keep(result)
	}
	s.wake()
	s.mu.Unlock()
	if failure := result.GetFailed(); wanted && failure != nil {
		task.Log().Warn("stepgres: an attempt failed", "handler", task.GetHandler(), "code", failure.GetCode(),
			"message", failure.GetMessage(), "retryable", !failure.GetNonRetryable(), "details", failure.GetDetails())
	}
}

// report notes how far a task is, for the next heartbeat.
func (s *session) report(task *Task, progress *pb.TaskProgress) {
	token := string(task.GetToken())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tasks[token] == task {
		s.progress[token] = progress
	}
}

// ------------------------------------------------------------------------------------------------- for the worker

// handBack releases everything that executes.
func (s *session) handBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for token, task := range s.tasks {
		task.cancel(ErrReleased)
		delete(s.tasks, token)
		s.keep(released(task.GetToken()))
	}
	s.wake()
}

// ------------------------------------------------------------------------------------------------------ frames out

// frames is everything that is to be sent on a stream now: results with the slots that are free, a heartbeat, Goodbye.
func (s *session) frames(st *stream) []*pb.WorkRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	var frames []*pb.WorkRequest
	if s.current == st {
		var batch *pb.ResultBatch
		for len(st.outbox) > 0 {
			if next := s.nextBatch(st); len(next.Results) > 0 {
				batch = next
				frames = append(frames, &pb.WorkRequest{Frame: &pb.WorkRequest_ResultBatch{ResultBatch: batch}})
				st.awaitAnswer()
			}
		}
		if credits := s.grant(st); batch != nil {
			batch.Credits = credits // results are recorded and their slots filled in one transaction
		} else if credits > 0 {
			grant := &pb.CreditGrant{Credits: credits}
			frames = append(frames, &pb.WorkRequest{Frame: &pb.WorkRequest_CreditGrant{CreditGrant: grant}})
		}
	}
	if st.beatWanted {
		st.beatWanted = false
		frames = append(frames, &pb.WorkRequest{Frame: &pb.WorkRequest_Heartbeat{Heartbeat: s.heartbeat()}})
	}
	if st.leaving {
		frames = append(frames, &pb.WorkRequest{Frame: &pb.WorkRequest_Goodbye{Goodbye: new(pb.Goodbye)}})
	}
	return frames
}

func (s *session) nextBatch(st *stream) *pb.ResultBatch {
	room := min(cutBytes, int(s.current.welcome.GetMaxFrameBytes()))
	batch := new(pb.ResultBatch)
	for len(st.outbox) > 0 && len(batch.Results) < resultsPerFrame {
		if result := s.kept[st.outbox[0]]; result != nil { // else it is acknowledged or dropped meanwhile
			if room -= proto.Size(result) + resultOverhead; room < 0 && len(batch.Results) > 0 {
				break
			}
			batch.Results = append(batch.Results, result)
		}
		st.outbox = st.outbox[1:]
	}
	return batch
}

// grant is how many more tasks to ask for.
func (s *session) grant(st *stream) int32 {
	concurrency := s.worker.options.Concurrency
	if s.worker.stopping.Err() != nil || st.moving.Err() != nil || len(s.kept) > max(maxKept, 2*concurrency) {
		return 0
	}
	granted := max(0, min(concurrency-s.busy, int(s.current.welcome.GetMaxCredits()))-st.credits)
	st.credits += granted
	return int32(granted)
}

func (s *session) heartbeat() *pb.Heartbeat {
	beat := new(pb.Heartbeat)
	for token, report := range s.progress {
		if len(beat.Progress) == resultsPerFrame {
			break
		}
		if s.tasks[token] != nil {
			beat.Progress = append(beat.Progress, report)
		}
		delete(s.progress, token)
	}
	return beat
}

// --------------------------------------------------------------------------------------------- inside, mu is held

// held are the tokens of everything that is not over.
func (s *session) held() [][]byte {
	var tokens [][]byte
	for token := range s.tasks {
		tokens = append(tokens, []byte(token))
	}
	for token := range s.kept {
		tokens = append(tokens, []byte(token))
	}
	return tokens
}

func (s *session) keep(result *pb.Result) {
	token := string(result.GetToken())
	s.kept[token] = result
	s.current.outbox = append(s.current.outbox, token)
}

// wake lets the writer look for something to send, and sees whether a stop is complete.
func (s *session) wake() {
	s.current.wake()
	if s.worker.stopping.Err() != nil && len(s.tasks) == 0 && len(s.kept) == 0 {
		s.settle()
	}
}
