package stepgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"google.golang.org/grpc"

	pb "github.com/stepgres/stepgres/worker_sdk/go/stepgresv1"
)

const (
	// helloTimeout is the longest wait for Welcome.
	helloTimeout = 10 * time.Second
	// goodbyeTimeout is how long a leaving worker waits for the coordinator to close the stream.
	goodbyeTimeout = 2 * time.Second
	// progressPeriod: progress is sent at most so often.
	progressPeriod = time.Second
)

// stream is one Work stream from Hello to its end: a goroutine that reads, one that writes.
type stream struct {
	session *session
	conn    *grpc.ClientConn
	frames  grpc.BidiStreamingClient[pb.WorkRequest, pb.WorkResponse]
	// ctx is over when the stream is; its cause tells why.
	ctx    context.Context
	cancel context.CancelCauseFunc
	// output has an element when there may be something to send.
	output   chan struct{}
	welcome  *pb.Welcome
	welcomed time.Time
	// moving is over when another stream is to be opened: this one is over, or its coordinator drains.
	moving context.Context
	move   context.CancelFunc

	// Below: guarded by session.mu.

	// superseded: a newer stream lists what the session holds; tasks that come are held back.
	superseded bool
	heldBack   []*pb.LeasedTask
	// outbox are the tokens of kept results that this stream has to send.
	outbox []string
	// credits are the tasks asked for and not received yet.
	credits int
	// unanswered gives the stream up; nil unless results wait and nothing comes in.
	unanswered *time.Timer
	// beatWanted and leaving: a Heartbeat is to be sent, or what is left and then Goodbye.
	beatWanted, leaving bool
}

// openStream opens a connection, says Hello, waits for Welcome, and makes the stream the session's. The stream outlives
// the opening, which alone ends with ctx.
func openStream(ctx context.Context, s *session) (*stream, error) {
	// A connection of its own: a stream opened because of a Drain must not share the draining one's.
	conn, err := s.worker.client.dial()
	if err != nil {
		return nil, err
	}
	st := &stream{session: s, conn: conn, output: make(chan struct{}, 1)}
	st.ctx, st.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	st.moving, st.move = context.WithCancel(st.ctx)
	defer context.AfterFunc(ctx, func() { st.cancel(ctx.Err()) })()
	late := time.AfterFunc(helloTimeout, func() {
		st.cancel(fmt.Errorf("the coordinator did not answer Hello within %v", helloTimeout))
	})
	defer late.Stop()
	if err := st.greet(); err != nil {
		st.cancel(s.worker.client.requestError(st.ctx, err))
		conn.Close()
		s.restore()
		return nil, context.Cause(st.ctx)
	}
	s.attach(st)
	go st.write()
	go st.read()
	return st, nil
}

func (st *stream) greet() error {
	var err error
	if st.frames, err = pb.NewWorkerServiceClient(st.conn).Work(st.ctx); err != nil {
		return err
	}
	if err := st.frames.Send(st.session.greet()); err != nil && err != io.EOF { // EOF: Recv knows why
		return err
	}
	frame, err := st.frames.Recv()
	st.welcome, st.welcomed = frame.GetWelcome(), time.Now()
	if err == nil && st.welcome == nil {
		return errors.New("the coordinator did not answer Hello with Welcome")
	}
	return err
}

// wake lets the writer look for something to send.
func (st *stream) wake() {
	select {
	case st.output <- struct{}{}:
	default:
	}
}

func (st *stream) read() {
	defer st.conn.Close()
	for {
		frame, err := st.frames.Recv()
		if err != nil {
			st.cancel(st.session.worker.client.requestError(st.ctx, err))
			return
		}
		st.receive(frame)
	}
}

// receive takes one frame; kinds that it does not know are ignored.
func (st *stream) receive(frame *pb.WorkResponse) {
	s := st.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.unanswered != nil {
		st.unanswered.Stop()
		st.unanswered = nil
	}
	switch frame := frame.GetFrame().(type) {
	case *pb.WorkResponse_TaskBatch:
		if st.superseded {
			st.heldBack = append(st.heldBack, frame.TaskBatch.GetTasks()...)
		} else {
			s.receiveTasks(st, frame.TaskBatch.GetTasks())
		}
	case *pb.WorkResponse_AckBatch:
		s.receiveAcks(st, frame.AckBatch.GetAcks())
	case *pb.WorkResponse_CancelTasks:
		s.drop(frame.CancelTasks.GetTokens(), ErrCancelled)
	case *pb.WorkResponse_LeaseLost:
		s.drop(frame.LeaseLost.GetTokens(), ErrLeaseLost)
	case *pb.WorkResponse_Ping:
		st.beatWanted = true
		st.wake()
	case *pb.WorkResponse_Drain:
		s.worker.options.Logger.Info("stepgres: the coordinator drains; moving on", "reason", frame.Drain.GetReason())
		st.move()
	}
}

// awaitAnswer gives the stream up when nothing comes in for a whole lease although results have been sent.
func (st *stream) awaitAnswer() {
	lease := time.Duration(st.welcome.GetLeaseMs()) * time.Millisecond
	if st.unanswered == nil {
		st.unanswered = time.AfterFunc(lease, func() { st.cancel(fmt.Errorf("no answer to results for %v", lease)) })
	}
}

// write sends what is to be sent, and a heartbeat when there is progress or when nothing was sent for too long.
func (st *stream) write() {
	s := st.session
	interval := time.Duration(st.welcome.GetHeartbeatMs()) * time.Millisecond
	period := max(min(progressPeriod, interval/3), time.Millisecond)
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	sent := st.welcomed
	for {
		select {
		case <-st.output:
			// Handlers that are about to finish join this frame: one frame carries many results, and one grant many slots.
			runtime.Gosched()
		case <-ticker.C:
			s.mu.Lock()
			st.beatWanted = st.beatWanted || len(s.progress) > 0 || time.Since(sent) >= interval-period
			s.mu.Unlock()
		case <-st.ctx.Done():
			return
		}
		for _, frame := range s.frames(st) {
			if st.frames.Send(frame) != nil {
				return // the reader learns why
			}
			if sent = time.Now(); frame.GetGoodbye() != nil {
				st.frames.CloseSend()
				return
			}
		}
	}
}

// goodbye sends what is left and Goodbye, half-closes, and waits for the other side to close.
func (st *stream) goodbye() {
	st.session.mu.Lock()
	st.leaving = true
	st.session.mu.Unlock()
	st.wake()
	defer time.AfterFunc(goodbyeTimeout, st.close).Stop()
	<-st.ctx.Done()
}

// close lets the stream go at once; what was not acknowledged is sent again on the next one.
func (st *stream) close() { st.cancel(context.Canceled) }
