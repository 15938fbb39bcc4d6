package stepgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/stepgres/stepgres/worker_sdk/go/stepgresv1"
)

const (
	// healthyAfter: a stream that lived so long was healthy, and the next reconnect begins with the shortest wait again.
	healthyAfter = 5 * time.Second
	// resumingCap is the longest wait between two tries while a lease lasts after the break: several fall into the grace.
	// resumingPatience stands for the lease before the first is known. reconnectCap is the longest wait later, when nothing
	// is left to be saved.
	resumingCap      = time.Second
	resumingPatience = 15 * time.Second
	reconnectCap     = 10 * time.Second
	// handlersTimeout is how long a leaving worker waits for handlers whose context is cancelled.
	handlersTimeout = 5 * time.Second
	// outageEvery is the time between two warnings of the same outage.
	outageEvery = 30 * time.Second
)

// WorkerOptions steer a worker; the zero value is a good start.
type WorkerOptions struct {
	// Concurrency is the most tasks at a time, 1 to 10,000; 0: 100.
	Concurrency int
	// Scope: serve only runs of this scope, up to 128 characters; empty: the common one.
	Scope string
	// Name for people, up to 200 characters; empty: <host>:<process id>.
	Name string
	// DrainTimeout is how long running handlers may take on a stop until they are cancelled and handed back; 0: 30 s.
	DrainTimeout time.Duration
	// ReconnectGrace is how long the tasks wait when the stream breaks, up to the lease; 0: the server's, 2 s.
	ReconnectGrace time.Duration
	// Logger is told of the connection and of failed attempts; nil: slog.Default().
	Logger *slog.Logger
}

// Worker serves handlers: it leases their tasks, executes up to Concurrency at a time, and sends the results.
type Worker struct {
	client    *Client
	options   WorkerOptions
	functions map[string]Function
	catalogue []*pb.Handler
	serving   atomic.Bool
	// ready is done when a coordinator has welcomed the worker, stopping when it was asked to stop, and hurried when what
	// executes is to be handed back.
	ready, stopping, hurried context.Context
	welcomed, stop, hurry    context.CancelFunc
	// outage is when the connection was lost, zero while it is there; told when that was last spoken of.
	outage, told time.Time
	// failures to connect in a row; a stream that was welcomed and broke soon after is one.
	failures int
}

// NewWorker makes a worker that connects as the client does, on connections of its own. Bind handlers to it, then call
// Run or Serve, once.
func NewWorker(client *Client, options WorkerOptions) *Worker {
	host, _ := os.Hostname()
	options.Concurrency = cmp.Or(options.Concurrency, 100)
	options.DrainTimeout = cmp.Or(options.DrainTimeout, 30*time.Second)
	options.Name = cmp.Or(options.Name, fmt.Sprintf("%s:%d", host, os.Getpid()))
	options.Logger = cmp.Or(options.Logger, slog.Default()).With("worker", options.Name)
	w := &Worker{client: client, options: options, functions: make(map[string]Function)}
	w.ready, w.welcomed = context.WithCancel(context.Background())
	w.stopping, w.stop = context.WithCancel(context.Background())
	w.hurried, w.hurry = context.WithCancel(context.Background())
	return w
}

// Run serves until SIGTERM or SIGINT, then drains; a second signal hands everything back. See [Worker.Serve].
func (w *Worker) Run() error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer close(signals)
	defer signal.Stop(signals)
	go func() {
		<-signals
		w.Stop()
		<-signals
		w.StopNow()
	}()
	return w.Serve(context.Background())
}

// Serve serves until ctx is cancelled or Stop is called, then drains: it asks for no more tasks, lets the handlers
// finish, waits until their results are committed, and says Goodbye. Handlers get the values of ctx, not its end.
//
// It returns nil after a drain, and an error when it has no handlers or the coordinator refuses it. While none answers it
// waits and tries again.
func (w *Worker) Serve(ctx context.Context) error {
	switch {
	case len(w.functions) == 0:
		return errors.New("stepgres: the worker has no handlers; bind some with Handle")
	case w.options.Concurrency < 1 || w.options.Concurrency > 10_000:
		return fmt.Errorf("stepgres: Concurrency: %d is not 1 to 10,000", w.options.Concurrency)
	case w.serving.Swap(true):
		return errors.New("stepgres: this worker serves or has served already; make another")
	}
	defer context.AfterFunc(ctx, w.Stop)()
	s := w.newSession(ctx)
	err := w.supervise(s)
	returning, returned := context.WithTimeout(s.base, handlersTimeout)
	go func() {
		s.running.Wait()
		returned()
	}()
	if <-returning.Done(); returning.Err() == context.DeadlineExceeded {
		w.options.Logger.Warn("stepgres: handlers have not returned although their context is cancelled; leaving them")
	}
	return err
}

// Ready is closed when a coordinator has welcomed the worker.
func (w *Worker) Ready() <-chan struct{} { return w.ready.Done() }

// Stop asks the worker to drain; it returns at once, Serve when that is done.
func (w *Worker) Stop() { w.stop() }

// StopNow asks the worker to cancel what is executing and hand it back.
func (w *Worker) StopNow() {
	w.hurry()
	w.stop()
}

// supervise keeps one stream open until a stop; while its coordinator drains, it opens the next one before it lets it go.
func (w *Worker) supervise(s *session) error {
	// trying ends before opening does: without a Goodbye a Hello on its way would leave a session for a whole lease.
	trying, giveUp := context.WithCancel(s.base)
	opening, abandon := context.WithCancel(s.base)
	defer abandon()
	go func() {
		w.drain(s)
		giveUp()
		time.AfterFunc(goodbyeTimeout, abandon)
	}()
	var current *stream
	var refusal error
	for trying.Err() == nil {
		next, err := w.open(trying, opening, s, current)
		switch {
		case err == nil:
			if current != nil {
				current.close()
			}
			current = next
			select {
			case <-current.moving.Done():
			case <-trying.Done():
			}
		case trying.Err() == nil:
			refusal = err
			w.StopNow()
			<-trying.Done()
		}
	}
	if current != nil {
		current.goodbye()
	}
	return refusal
}

// drain waits for a stop and until everything is done, or for as long as that may take, and hands back what is left.
func (w *Worker) drain(s *session) {
	<-w.stopping.Done()
	s.mu.Lock()
	s.wake()
	s.mu.Unlock()
	select {
	case <-s.settled.Done():
	case <-w.hurried.Done():
	case <-time.After(w.options.DrainTimeout):
	}
	s.handBack()
}

// open opens a stream, again and again with full jitter while nobody answers. old is the one before, if there was one.
func (w *Worker) open(trying, opening context.Context, s *session, old *stream) (*stream, error) {
	var err error
	patience := resumingPatience
	if old != nil {
		patience = time.Duration(old.welcome.GetLeaseMs()) * time.Millisecond
		if time.Since(old.welcomed) >= healthyAfter {
			w.failures = 0
		}
		err = context.Cause(old.ctx) // nil while it drains
	}
	for since := time.Now(); ; {
		if err != nil {
			w.disconnected(err)
			limit := reconnectCap
			if time.Since(since) < patience {
				limit = resumingCap
			}
			if err := pause(trying, fullJitter(w.failures, limit)); err != nil {
				return nil, err
			}
			w.failures++
		}
		var st *stream
		if st, err = openStream(opening, s); err == nil {
			w.options.Logger.Info("stepgres: connected",
				"coordinator", st.welcome.GetCoordinator(), "resumed", st.welcome.GetResumed())
			w.outage = time.Time{}
			w.welcomed()
			return st, nil
		}
		if isFinal(err) || trying.Err() != nil {
			return nil, err
		}
	}
}

// isFinal: answers to Hello that no second try will change.
func isFinal(err error) bool {
	return slices.Contains([]codes.Code{
		codes.InvalidArgument, codes.FailedPrecondition, codes.Unauthenticated, codes.PermissionDenied, codes.Unimplemented,
	}, status.Code(err))
}

// disconnected tells of an outage: one line when the stream has ended or cannot be opened, and one each 30 s.
func (w *Worker) disconnected(err error) {
	now := time.Now()
	switch {
	case w.outage.IsZero():
		w.outage, w.told = now, now
		w.options.Logger.Warn("stepgres: no connection; trying until a coordinator answers", "error", err)
	case now.Sub(w.told) >= outageEvery:
		w.told = now
		w.options.Logger.Warn("stepgres: still no connection", "for", now.Sub(w.outage).Round(time.Second), "error", err)
	}
}
