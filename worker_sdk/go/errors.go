package stepgres

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/stepgres/stepgres/worker_sdk/go/stepgresv1"
)

// What errors.Is finds in an [Error], by its code; status.Code tells every code.
var (
	ErrInvalidArgument    = &Error{Code: codes.InvalidArgument}
	ErrNotFound           = &Error{Code: codes.NotFound}
	ErrAlreadyExists      = &Error{Code: codes.AlreadyExists}
	ErrFailedPrecondition = &Error{Code: codes.FailedPrecondition}
	ErrUnavailable        = &Error{Code: codes.Unavailable}
)

// Why the context of a handler is cancelled, see [context.Cause]. Past its deadline it is context.DeadlineExceeded.
var (
	// ErrCancelled: the run has ended, nobody wants the result.
	ErrCancelled = fmt.Errorf("stepgres: the run has ended: %w", context.Canceled)
	// ErrLeaseLost: the task belongs to somebody else now.
	ErrLeaseLost = fmt.Errorf("stepgres: the lease is lost: %w", context.Canceled)
	// ErrReleased: the worker stops and has handed the task back.
	ErrReleased = fmt.Errorf("stepgres: the worker stops: %w", context.Canceled)
)

// Error says that a coordinator refused a call, or that none answered.
//
// Find it with errors.As, or its kind with errors.Is(err, ErrNotFound) or status.Code(err).
type Error struct {
	// Code of the gRPC status.
	Code codes.Code
	// Reason is a name of stepgresv1.ErrorReason without its prefix, or a newer server's word; empty without one.
	Reason string
	// Message for people.
	Message string
	// Violations has one entry for each field at fault: its path, what is wrong with it, and the reason.
	Violations []*errdetails.BadRequest_FieldViolation
	// Metadata are values that the reason speaks of, such as an actual and an allowed size.
	Metadata map[string]string
}

// Error is the reason, or the code, and the message.
func (e *Error) Error() string { return cmp.Or(e.Reason, e.Code.String()) + ": " + e.Message }

// Is tells whether target is an Error with this code and, when it names one, this reason; or context.Canceled or
// context.DeadlineExceeded where the caller's context ended the call.
func (e *Error) Is(target error) bool {
	switch target {
	case context.Canceled:
		return e.Code == codes.Canceled
	case context.DeadlineExceeded:
		return e.Code == codes.DeadlineExceeded
	}
	other, ok := target.(*Error)
	return ok && other.Code == e.Code && (other.Reason == "" || other.Reason == e.Reason)
}

// GRPCStatus makes status.Code and status.FromError understand it.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }

// requestError reads a gRPC status with its details.
//
// A CANCELLED that is not the caller's own comes from a server that shuts down, and so does the end of a stream.
func (c *Client) requestError(ctx context.Context, err error) *Error {
	if err == io.EOF {
		err = status.Error(codes.Unavailable, "the coordinator closed the stream")
	}
	found := status.Convert(err)
	answer := &Error{Code: found.Code(), Message: found.Message()}
	for _, detail := range found.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == "stepgres" {
				answer.Reason, answer.Metadata = detail.GetReason(), detail.GetMetadata()
			}
		case *errdetails.BadRequest:
			answer.Violations = append(answer.Violations, detail.GetFieldViolations()...)
		}
	}
	if answer.Code == codes.Canceled && ctx.Err() == nil {
		answer.Code = codes.Unavailable
	}
	if answer.Code == codes.Unavailable && answer.Reason == "" {
		answer.Message = fmt.Sprintf("no coordinator answers at %s (%s). Does `stepgres dev` or `stepgres serve` run there? "+
			"Set %s to the host:port of one, or start one: `stepgres dev` serves %s.",
			c.options.Target, answer.Message, targetVariable, defaultTarget)
	}
	return answer
}

// RunFailedError says that a run failed.
type RunFailedError struct {
	// RunID is the run's UUID.
	RunID string
	// RunError tells the step, the task's index and attempt, the code and the message.
	*pb.RunError
}

// Error names the run, the step, the code and what the handler said.
func (e *RunFailedError) Error() string {
	return fmt.Sprintf("run %s failed in step %s: %s: %s", e.RunID, e.GetStep(), e.GetCode(), e.GetMessage())
}

// RunCancelledError says that somebody cancelled a run.
type RunCancelledError struct {
	// RunID is the run's UUID.
	RunID string
	// Message is the reason given with the cancellation; empty without one.
	Message string
}

// Error names the run and the reason.
func (e *RunCancelledError) Error() string {
	return strings.TrimSuffix(fmt.Sprintf("run %s was cancelled: %s", e.RunID, e.Message), ": ")
}

// MissingHandlersError says that [Client.Execute] was given no function for some steps; nothing was started.
type MissingHandlersError struct {
	// Flow is its slug; empty for a plan without one.
	Flow string
	// Steps are the slugs of the steps without a function.
	Steps []string
}

// Error names the flow and the steps.
func (e *MissingHandlersError) Error() string {
	return fmt.Sprintf("flow %s: no function for %s; nothing was started",
		cmp.Or(e.Flow, "(inline plan)"), strings.Join(e.Steps, ", "))
}

// TaskError is what a handler returns, bare or wrapped, to say how its task failed. Any other error is HANDLER_ERROR
// and retryable.
type TaskError struct {
	// Code is UPPER_SNAKE, up to 128 characters: what a RunFailedError carries. Empty: HANDLER_ERROR.
	Code string
	// Message for people, cut at 8 KiB. Empty: that of Err.
	Message string
	// NonRetryable fails the task for good, whatever attempts are left.
	NonRetryable bool
	// RetryAfter replaces the step's backoff before the next attempt, 0 to 7 days; nil: the backoff.
	RetryAfter *time.Duration
	// Err is the cause, if any; its text goes into the attempt's details.
	Err error
}

// Error is the message, or what the cause says.
func (e *TaskError) Error() string {
	if e.Message == "" && e.Err != nil {
		return e.Err.Error()
	}
	return cmp.Or(e.Message, "the handler failed")
}

// Unwrap is the cause.
func (e *TaskError) Unwrap() error { return e.Err }
