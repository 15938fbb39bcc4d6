package stepgres_test

import (
	"context"
	"fmt"
	"log"
	"time"

	stepgres "github.com/stepgres/stepgres/worker_sdk/go"
	pb "github.com/stepgres/stepgres/worker_sdk/go/stepgresv1"
)

func Example() {
	client, err := stepgres.NewClient(stepgres.ClientOptions{Target: "127.0.0.1:50051"})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	hello := &stepgres.Flow{Slug: "hello", Steps: []*stepgres.Step{{Slug: "greet", StepType: stepgres.Map}}}
	if _, err := client.CreateFlow(context.Background(), hello); err != nil {
		log.Fatal(err)
	}
	worker := stepgres.NewWorker(client, stepgres.WorkerOptions{})
	stepgres.Handle(worker, "hello.greet", func(_ context.Context, in struct{ Item string }) (string, error) {
		return "Hello, " + in.Item, nil
	})
	if err := worker.Run(); err != nil {
		log.Fatal(err)
	}
}

func ExampleTaskError() {
	wait := 30 * time.Second
	err := &stepgres.TaskError{Code: "RATE_LIMITED", Message: "the API wants a pause", RetryAfter: &wait}
	fmt.Println(err)
	// Output: the API wants a pause
}

func ExampleContextWithTask() {
	greet := func(ctx context.Context, _ any) (string, error) {
		return "attempt " + fmt.Sprint(stepgres.TaskFrom(ctx).Attempt), nil
	}
	ctx := stepgres.ContextWithTask(context.Background(), &stepgres.Task{LeasedTask: &pb.LeasedTask{Attempt: 2}})
	fmt.Println(greet(ctx, nil))
	// Output: attempt 2 <nil>
}

func ExampleRun_Watch() {
	client, err := stepgres.NewClient(stepgres.ClientOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for snapshot, err := range client.Run("0199c0de-0000-7000-8000-000000000000").Watch(context.Background(), "") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(snapshot.GetStatus(), snapshot.GetRemainingSteps())
	}
}
