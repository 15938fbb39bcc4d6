package stepgres

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	pb "github.com/stepgres/stepgres/worker_sdk/go/stepgresv1"
)

const (
	messageBytes  = 8 << 10
	codeBytes     = 128
	maxRetryAfter = 7 * 24 * time.Hour
)

// Function executes a task: it takes the input and returns the output as JSON. [Func] makes one of a typed function.
type Function func(ctx context.Context, input []byte) (output []byte, err error)

// HandlerOption tells the catalogue more of a handler.
type HandlerOption func(*pb.Handler)

// Describe says for people and agents what the handler does, up to 8192 characters.
func Describe(description string) HandlerOption {
	return func(h *pb.Handler) { h.Description = description }
}

// Schemas are the JSON Schemas of the step's params, of the input (for a map {"item": …, "index": …}) and of the output,
// up to 64 KiB each; empty for those that are not known.
func Schemas(params, input, output string) HandlerOption {
	return func(h *pb.Handler) {
		h.ParamsSchema, h.InputSchema, h.OutputSchema = []byte(params), []byte(input), []byte(output)
	}
}

// Handle binds a function to a handler's name; a step's own is "<flow>.<step>". Call it before the worker serves.
//
// The input of a single step is {"run": <run input>, "<dependency>": <output>, …}, of a map {"item": <element>,
// "index": <i>}. In may be any type that encoding/json decodes into; where it holds an `any`, numbers are json.Number
// and thus exact. What the function returns is encoded by encoding/json. In either place json.RawMessage is JSON as it
// travels. [TaskFrom] finds the task in ctx, which is cancelled at the task's deadline and when nobody wants the result
// any more: see [context.Cause].
//
// An error is retryable with the code HANDLER_ERROR unless it is or wraps a *[TaskError]; a panic is one, with the stack
// in the attempt's details. Handle panics when the name is bound already, or the worker serves.
func Handle[In, Out any](
	w *Worker, name string, function func(ctx context.Context, input In) (Out, error), options ...HandlerOption,
) {
	w.handle(name, Func(function), options...)
}

// Func makes a Function of a typed one, as [Handle] does.
func Func[In, Out any](function func(ctx context.Context, input In) (Out, error)) Function {
	if function == nil {
		panic("stepgres: a handler's function is nil")
	}
	return func(ctx context.Context, data []byte) ([]byte, error) {
		var input In
		if err := decode(data, &input); err != nil {
			return nil, hopeless("INVALID_INPUT", "the input cannot be decoded: %v", err)
		}
		value, err := function(ctx, input)
		if err != nil {
			return nil, err
		}
		output, err := encode(value)
		if err != nil {
			return nil, hopeless("INVALID_OUTPUT", "the handler returned a %T, which is not JSON: %v", value, err)
		}
		return output, nil
	}
}

func (w *Worker) handle(name string, function Function, options ...HandlerOption) {
	if w.serving.Load() {
		panic(fmt.Sprintf("stepgres: handler %s: the worker serves already; add handlers before", name))
	}
	if w.functions[name] != nil {
		panic(fmt.Sprintf("stepgres: handler %s is bound already; give this one another name", name))
	}
	w.functions[name] = function
	handler := &pb.Handler{Name: name}
	for _, option := range options {
		option(handler)
	}
	w.catalogue = append(w.catalogue, handler)
}

// decode reads JSON; numbers that land in an `any` become json.Number, exact whatever their size.
func decode(data []byte, into any) error {
	if raw, ok := into.(*json.RawMessage); ok {
		*raw = data
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	return decoder.Decode(into)
}

// encode writes compact JSON and leaves <, > and & as they are. A json.RawMessage goes as it is, an empty one as null.
func encode(value any) ([]byte, error) {
	if raw, ok := value.(json.RawMessage); ok && len(raw) > 0 {
		if !json.Valid(raw) || !utf8.Valid(raw) {
			return nil, errors.New("its bytes are no JSON")
		}
		return raw, nil
	}
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte{'\n'}), nil
}

// run calls the handler, unless its context has ended already; a panic is an error.
func (f Function) run(ctx context.Context, input []byte) (output []byte, err error) {
	defer func() {
		if crash := recover(); crash != nil {
			_, stack, _ := strings.Cut(string(debug.Stack()), "\npanic(")
			err = &TaskError{Message: fmt.Sprintf("panic: %v", crash), Err: errors.New(stack)}
		}
	}()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return f(ctx, input)
}

// hopeless is a failure that no other attempt will change.
func hopeless(code, format string, values ...any) error {
	return &TaskError{Code: code, Message: fmt.Sprintf(format, values...), NonRetryable: true}
}

// outcome is what a handler has returned; when the output is larger than limit the task has failed.
func outcome(token, output []byte, err error, limit int64) *pb.Result {
	if err == nil && int64(len(output)) > limit {
		err = hopeless("OUTPUT_TOO_LARGE",
			"the output has %d bytes, allowed are %d; store it elsewhere and return a reference", len(output), limit)
	}
	if err == nil {
		return &pb.Result{Token: token, Outcome: &pb.Result_Completed{Completed: &pb.Completed{Output: output}}}
	}
	failure := &pb.Failed{Code: "HANDLER_ERROR", Message: cut(err.Error(), messageBytes)}
	if told, ok := errors.AsType[*TaskError](err); ok {
		failure.Code = cmp.Or(cut(told.Code, codeBytes), failure.Code)
		failure.NonRetryable = told.NonRetryable
		if told.Err != nil {
			failure.Details = cut(told.Err.Error(), messageBytes)
		}
		if told.RetryAfter != nil {
			failure.RetryAfterMs = new(min(max(0, *told.RetryAfter), maxRetryAfter).Milliseconds())
		}
	}
	return &pb.Result{Token: token, Outcome: &pb.Result_Failed{Failed: failure}}
}

// released hands a task back.
func released(token []byte) *pb.Result {
	return &pb.Result{Token: token, Outcome: &pb.Result_Released{Released: &pb.Released{}}}
}

// cut is a text as the wire takes it, UTF-8 without U+0000, and of it so many bytes at most, whole characters.
func cut(text string, size int) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	return strings.ToValidUTF8(text[:min(len(text), size)], "")
}
