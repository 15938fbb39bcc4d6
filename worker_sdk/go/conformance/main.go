// Command conformance is the worker that `stepgres conformance` judges: it serves the kit's standard handlers by their
// plain names, and runs until SIGTERM. Names that are not in the table are served as handlers that do nothing, so that
// the same program measures what the SDK costs.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	stepgres "github.com/stepgres/stepgres/worker_sdk/go"
)

// params are what the standard handlers may be told by their step.
type params struct {
	Times       int32   `json:"times"`
	Seconds     float64 `json:"seconds"`
	Bytes       int     `json:"bytes"`
	RetryAfterS float64 `json:"retry_after_s"`
}

// folder is where the handlers leave their files.
var folder = os.Getenv("STEPGRES_CONFORMANCE_DIR")

// handlers binds each name of the table.
var handlers = map[string]func(w *stepgres.Worker, name string){
	"echo": func(w *stepgres.Worker, name string) {
		stepgres.Handle(w, name, func(_ context.Context, input json.RawMessage) (json.RawMessage, error) {
			return input, nil
		}, stepgres.Describe("Returns its input."))
	},
	"params": func(w *stepgres.Worker, name string) {
		stepgres.Handle(w, name, func(ctx context.Context, _ any) (any, error) {
			var params any
			err := stepgres.TaskFrom(ctx).Params(&params)
			return params, err
		}, stepgres.Describe("Returns its params."), stepgres.Schemas(`{"type": "object"}`, "", ""))
	},
	"fail_then_succeed": handle("Fails as often as params.times says, then returns the attempt.",
		func(_ context.Context, task *stepgres.Task, p params) (any, error) {
			if task.Attempt <= p.Times {
				return nil, &stepgres.TaskError{Code: "PLANNED", Message: "as planned"}
			}
			return map[string]int32{"attempt": task.Attempt}, nil
		}),
	"non_retryable": handle("Fails for good.",
		func(context.Context, *stepgres.Task, params) (any, error) {
			return nil, &stepgres.TaskError{Code: "NO_RETRY", Message: "as planned", NonRetryable: true}
		}),
	"retry_after": handle("Fails once and asks for a retry after params.retry_after_s.",
		func(_ context.Context, task *stepgres.Task, p params) (any, error) {
			if task.Attempt == 1 {
				return nil, &stepgres.TaskError{Code: "LATER", Message: "as planned", RetryAfter: new(seconds(p.RetryAfterS))}
			}
			return map[string]int32{"attempt": task.Attempt}, nil
		}),
	"raise_error": handle("Fails with a plain error.",
		func(context.Context, *stepgres.Task, params) (any, error) { return nil, errors.New("boom") }),
	"sleep": handle("Waits params.seconds.",
		func(ctx context.Context, _ *stepgres.Task, p params) (any, error) {
			return map[string]float64{"slept": p.Seconds}, wait(ctx, p.Seconds)
		}),
	"sleep_until_cancelled": handle("Waits until it is cancelled, 60 s at most, and writes that down.",
		func(ctx context.Context, task *stepgres.Task, _ params) (any, error) {
			err := wait(ctx, 60)
			if err != nil {
				note("cancelled " + task.IdempotencyKey())
			}
			return nil, err
		}),
	"progress": handle("Reports progress, waits params.seconds, returns null.",
		func(ctx context.Context, task *stepgres.Task, p params) (any, error) {
			task.Progress(0.5, "half way")
			return nil, wait(ctx, p.Seconds)
		}),
	"big": handle("Returns a text of params.bytes letters.",
		func(_ context.Context, _ *stepgres.Task, p params) (any, error) {
			return strings.Repeat("x", p.Bytes), nil
		}),
	"run_input": handle("Returns the length of the run's input, null if it is no array.",
		func(ctx context.Context, task *stepgres.Task, _ params) (any, error) {
			input, err := task.RunInput(ctx)
			var array []json.RawMessage
			if err != nil || json.Unmarshal(input, &array) != nil || array == nil {
				return nil, err
			}
			return len(array), nil
		}),
	"count": handle("Writes its idempotency key down and returns how many of its tasks this process has executed.",
		func(_ context.Context, task *stepgres.Task, _ params) (any, error) {
			note("count " + task.IdempotencyKey())
			return counted.Add(1), nil
		}),
	"invalid_output": handle("Returns what is not JSON.",
		func(context.Context, *stepgres.Task, params) (any, error) { return math.NaN(), nil }),
	"crash": handle("Ends the process the first time.",
		func(context.Context, *stepgres.Task, params) (any, error) {
			marker, err := os.OpenFile(filepath.Join(folder, "crashed"), os.O_CREATE|os.O_EXCL, 0o600)
			if err == nil {
				marker.Close()
				os.Exit(70)
			}
			return map[string]bool{"crashed": true}, nil
		}),
}

var counted atomic.Int64

// handle binds a function that looks at its task and its params, not at its input.
func handle(
	description string, function func(context.Context, *stepgres.Task, params) (any, error),
) func(*stepgres.Worker, string) {
	return func(w *stepgres.Worker, name string) {
		stepgres.Handle(w, name, func(ctx context.Context, _ json.RawMessage) (any, error) {
			var p params
			task := stepgres.TaskFrom(ctx)
			if err := task.Params(&p); err != nil {
				return nil, err
			}
			return function(ctx, task, p)
		}, stepgres.Describe(description))
	}
}

// nothing is served under every other name.
func nothing(w *stepgres.Worker, name string) {
	stepgres.Handle(w, name, func(context.Context, json.RawMessage) (json.RawMessage, error) {
		return nil, nil
	}, stepgres.Describe("Does nothing and returns null."))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func wait(ctx context.Context, s float64) error {
	select {
	case <-time.After(seconds(s)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// note appends a line to the log with one write, so that several processes may share it.
func note(line string) {
	file, err := os.OpenFile(filepath.Join(folder, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	fmt.Fprintf(file, "%s\n", line)
}

func main() {
	client, err := stepgres.NewClient(stepgres.ClientOptions{})
	if err != nil {
		log.Fatal(err)
	}
	concurrency := 10
	if text := os.Getenv("STEPGRES_CONFORMANCE_CONCURRENCY"); text != "" {
		if concurrency, err = strconv.Atoi(text); err != nil {
			log.Fatalf("STEPGRES_CONFORMANCE_CONCURRENCY: %q is no number; give one from 1 to 10000", text)
		}
	}
	worker := stepgres.NewWorker(client, stepgres.WorkerOptions{Concurrency: concurrency})
	if names := os.Getenv("STEPGRES_CONFORMANCE_HANDLERS"); names != "" {
		for name := range strings.SplitSeq(names, ",") {
			bind, known := handlers[strings.TrimSpace(name)]
			if !known {
				bind = nothing
			}
			bind(worker, strings.TrimSpace(name))
		}
	} else {
		for name, bind := range handlers {
			bind(worker, name)
		}
	}
	if err := worker.Run(); err != nil {
		log.Fatal(err)
	}
	client.Close()
}
