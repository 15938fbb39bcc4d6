// The worker protocol: one bidirectional stream over which a worker leases tasks and sends results back.
//
// This text is enough to write a worker in a new language; docs/protocol.md has the same rules in full, each sentence with
// a number, and `stepgres conformance` checks a worker against them.
//
// # The life of a stream
//
//   worker                                   coordinator
//   ── Hello ───────────────────────────────▶            who I am, which handlers I serve, what I still hold
//            ◀─────────────────────────────── Welcome ── session id, periods, limits
//            ◀─────────────────────────────── LeaseLost  (after a resume) what I must stop
//   ── CreditGrant(n) ──────────────────────▶            I can take n more tasks
//            ◀─────────────────────────────── TaskBatch  at most as many tasks as credits
//   ── ResultBatch ─────────────────────────▶
//            ◀─────────────────────────────── AckBatch   each result's verdict
//   ── Heartbeat ───────────────────────────▶            when there was nothing else to send
//   ── Goodbye ─────────────────────────────▶            I hold nothing any more; the stream closes
//
// # Rules
//
//   1. Hello is the first frame, once. No other frame is sent before Welcome has come.
//   2. Credits are counts of tasks. A TaskBatch with m tasks uses up m credits. Credits end with their stream: after
//      each Welcome a worker grants afresh what it can take now. Grant a freed slot as soon as it is free, best in
//      the frame of the result that freed it (ResultBatch.credits); never wait for a batch to be done. Credits beyond
//      the session's limit (Welcome.max_credits) are cut to it.
//   3. A task is executed by the handler named in it. What the handler returns is sent as `completed` with its JSON,
//      a failure as `failed`. A worker may hand a task back unexecuted with `released`; that burns no attempt.
//   4. A worker keeps each result until an Ack with its token has come, and sends it again after every reconnect, to
//      any coordinator. An Ack RECORDED means: committed. Every verdict but BUSY is final; after BUSY send the same
//      result again when `retry_after_ms` have passed.
//   5. A token fences its lease: a result that is late, doubled, guessed or of another session changes nothing and is
//      answered DUPLICATE or STALE. Neither is an error of the worker; it forgets the result.
//   6. The lease belongs to the session, not to the task. Any frame is a heartbeat; send one at least every
//      Welcome.heartbeat_ms. A stream that is silent for Welcome.lease_ms is ended, and its tasks go back to the queue
//      unless it is resumed within the grace.
//   7. A stream that ends in any way but Goodbye may be resumed: connect again, to any coordinator, within the grace
//      (Hello.reconnect_grace_ms), with the session id, the same instance id, and the tokens of all tasks that are
//      still executing or whose results are not acknowledged (`held_tokens`). Tasks not listed go back to the queue.
//      Wait between attempts with full jitter: random between 0 and min(cap, 0.1 s * 2^n), with a cap of 1 s until
//      Welcome.lease_ms have passed since the break, so that several fall into the grace, and of 10 s then.
//      Welcome.resumed says whether the session lives on; if not, LeaseLost lists every held token.
//   8. CancelTasks: the run has ended. Stop the handlers; a result for these tokens will be answered STALE.
//      LeaseLost: the tasks belong to somebody else now. Stop the handlers and drop the results.
//   9. `timeout_s` counts from receipt. The worker stops the handler and sends `failed` with code TIMEOUT; the
//      coordinator does the same a little later if the worker does not.
//  10. Drain: the coordinator will close this stream around the deadline, earlier when no worker holds anything. Go on
//      working, open a stream to another coordinator, resume there, and let this one go when that was welcomed, without
//      Goodbye. Tasks that come over this one after the new Hello was sent are not in its list: do not execute them.
//  11. To stop, a worker stops granting, finishes or releases what it has, waits for the acks, sends Goodbye and
//      half-closes. What it still holds then goes back to the queue at once. A task that comes meanwhile is released.
//  12. Ping asks for any frame at once. Frames and fields that a worker does not know are ignored.
//  13. What is wrong with one result is refused by its Ack (REJECTED, with reason); what is wrong with the stream ends
//      it with a status that carries ErrorInfo. No frame is larger than Welcome.max_frame_bytes.
//
// A minimal worker may leave out: resuming (send an empty session id, and drop what was held when a stream breaks),
// Drain (it is the end of a stream then), progress, released but for handlers that it does not have, and Ping (any frame
// within the heartbeat period is enough).
//
// # States of a lease as the worker sees it
//
//   received ─▶ executing ─▶ result kept ─▶ acknowledged
//                   │             │
//                   └─ CancelTasks, LeaseLost: dropped

// Code generated by protoc-gen-go-grpc. DO NOT EDIT.
// versions:
// - protoc-gen-go-grpc v1.6.2
// - protoc             v6.31.1
// source: stepgres/v1/worker.proto

package stepgresv1

import (
	context "context"
	grpc "google.golang.org/grpc"
	codes "google.golang.org/grpc/codes"
	status "google.golang.org/grpc/status"
)

// This is a compile-time assertion to ensure that this generated file
// is compatible with the grpc package it is being compiled against.
// Requires gRPC-Go v1.64.0 or later.
const _ = grpc.SupportPackageIsVersion9

const (
	WorkerService_Work_FullMethodName        = "/stepgres.v1.WorkerService/Work"
	WorkerService_GetRunInput_FullMethodName = "/stepgres.v1.WorkerService/GetRunInput"
)

// WorkerServiceClient is the client API for WorkerService service.
//
// For semantics around ctx use and closing/ending streaming RPCs, please refer to https://pkg.go.dev/google.golang.org/grpc/?tab=doc#ClientConn.NewStream.
//
// What workers call.
type WorkerServiceClient interface {
	// The stream of one session; see the head of this file.
	//
	// Codes that end it: INVALID_ARGUMENT (HELLO_REQUIRED, HELLO_REPEATED, INVALID_HANDLER, INVALID_JSON, INVALID_UTF8,
	// NUL_CHARACTER, PAYLOAD_TOO_LARGE, FIELD_*), FAILED_PRECONDITION (PROTOCOL_VERSION), RESOURCE_EXHAUSTED
	// (TOO_MANY_STREAMS, TOO_MANY_RESULTS), ABORTED (SESSION_TAKEN, SESSION_EXPIRED), DEADLINE_EXCEEDED (WORKER_SILENT),
	// UNAVAILABLE (DRAINING, DATABASE_UNAVAILABLE).
	Work(ctx context.Context, opts ...grpc.CallOption) (grpc.BidiStreamingClient[WorkRequest, WorkResponse], error)
	// Reads the input of the run that a leased task belongs to: a map's tasks do not carry it.
	//
	// Safe to repeat; a worker keeps the answer for the run's other tasks.
	// Codes: INVALID_ARGUMENT; NOT_FOUND (INVALID_TOKEN) when the lease is not held any more.
	GetRunInput(ctx context.Context, in *GetRunInputRequest, opts ...grpc.CallOption) (*GetRunInputResponse, error)
}

type workerServiceClient struct {
	cc grpc.ClientConnInterface
}

func NewWorkerServiceClient(cc grpc.ClientConnInterface) WorkerServiceClient {
	return &workerServiceClient{cc}
}

func (c *workerServiceClient) Work(ctx context.Context, opts ...grpc.CallOption) (grpc.BidiStreamingClient[WorkRequest, WorkResponse], error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	stream, err := c.cc.NewStream(ctx, &WorkerService_ServiceDesc.Streams[0], WorkerService_Work_FullMethodName, cOpts...)
	if err != nil {
		return nil, err
	}
	x := &grpc.GenericClientStream[WorkRequest, WorkResponse]{ClientStream: stream}
	return x, nil
}

// This type alias is provided for backwards compatibility with existing code that references the prior non-generic stream type by name.
type WorkerService_WorkClient = grpc.BidiStreamingClient[WorkRequest, WorkResponse]

func (c *workerServiceClient) GetRunInput(ctx context.Context, in *GetRunInputRequest, opts ...grpc.CallOption) (*GetRunInputResponse, error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	out := new(GetRunInputResponse)
	err := c.cc.Invoke(ctx, WorkerService_GetRunInput_FullMethodName, in, out, cOpts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// WorkerServiceServer is the server API for WorkerService service.
// All implementations must embed UnimplementedWorkerServiceServer
// for forward compatibility.
//
// What workers call.
type WorkerServiceServer interface {
	// The stream of one session; see the head of this file.
	//
	// Codes that end it: INVALID_ARGUMENT (HELLO_REQUIRED, HELLO_REPEATED, INVALID_HANDLER, INVALID_JSON, INVALID_UTF8,
	// NUL_CHARACTER, PAYLOAD_TOO_LARGE, FIELD_*), FAILED_PRECONDITION (PROTOCOL_VERSION), RESOURCE_EXHAUSTED
	// (TOO_MANY_STREAMS, TOO_MANY_RESULTS), ABORTED (SESSION_TAKEN, SESSION_EXPIRED), DEADLINE_EXCEEDED (WORKER_SILENT),
	// UNAVAILABLE (DRAINING, DATABASE_UNAVAILABLE).
	Work(grpc.BidiStreamingServer[WorkRequest, WorkResponse]) error
	// Reads the input of the run that a leased task belongs to: a map's tasks do not carry it.
	//
	// Safe to repeat; a worker keeps the answer for the run's other tasks.
	// Codes: INVALID_ARGUMENT; NOT_FOUND (INVALID_TOKEN) when the lease is not held any more.
	GetRunInput(context.Context, *GetRunInputRequest) (*GetRunInputResponse, error)
	mustEmbedUnimplementedWorkerServiceServer()
}

// UnimplementedWorkerServiceServer must be embedded to have
// forward compatible implementations.
//
// NOTE: this should be embedded by value instead of pointer to avoid a nil
// pointer dereference when methods are called.
type UnimplementedWorkerServiceServer struct{}

func (UnimplementedWorkerServiceServer) Work(grpc.BidiStreamingServer[WorkRequest, WorkResponse]) error {
	return status.Error(codes.Unimplemented, "method Work not implemented")
}
func (UnimplementedWorkerServiceServer) GetRunInput(context.Context, *GetRunInputRequest) (*GetRunInputResponse, error) {
	return nil, status.Error(codes.Unimplemented, "method GetRunInput not implemented")
}
func (UnimplementedWorkerServiceServer) mustEmbedUnimplementedWorkerServiceServer() {}
func (UnimplementedWorkerServiceServer) testEmbeddedByValue()                       {}

// UnsafeWorkerServiceServer may be embedded to opt out of forward compatibility for this service.
// Use of this interface is not recommended, as added methods to WorkerServiceServer will
// result in compilation errors.
type UnsafeWorkerServiceServer interface {
	mustEmbedUnimplementedWorkerServiceServer()
}

func RegisterWorkerServiceServer(s grpc.ServiceRegistrar, srv WorkerServiceServer) {
	// If the following call panics, it indicates UnimplementedWorkerServiceServer was
	// embedded by pointer and is nil.  This will cause panics if an
	// unimplemented method is ever invoked, so we test this at initialization
	// time to prevent it from happening at runtime later due to I/O.
	if t, ok := srv.(interface{ testEmbeddedByValue() }); ok {
		t.testEmbeddedByValue()
	}
	s.RegisterService(&WorkerService_ServiceDesc, srv)
}

func _WorkerService_Work_Handler(srv interface{}, stream grpc.ServerStream) error {
	return srv.(WorkerServiceServer).Work(&grpc.GenericServerStream[WorkRequest, WorkResponse]{ServerStream: stream})
}

// This type alias is provided for backwards compatibility with existing code that references the prior non-generic stream type by name.
type WorkerService_WorkServer = grpc.BidiStreamingServer[WorkRequest, WorkResponse]

func _WorkerService_GetRunInput_Handler(srv interface{}, ctx context.Context, dec func(interface{}) error, interceptor grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(GetRunInputRequest)
	if err := dec(in); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return srv.(WorkerServiceServer).GetRunInput(ctx, in)
	}
	info := &grpc.UnaryServerInfo{
		Server:     srv,
		FullMethod: WorkerService_GetRunInput_FullMethodName,
	}
	handler := func(ctx context.Context, req interface{}) (interface{}, error) {
		return srv.(WorkerServiceServer).GetRunInput(ctx, req.(*GetRunInputRequest))
	}
	return interceptor(ctx, in, info, handler)
}

// WorkerService_ServiceDesc is the grpc.ServiceDesc for WorkerService service.
// It's only intended for direct use with grpc.RegisterService,
// and not to be introspected or modified (even as a copy)
var WorkerService_ServiceDesc = grpc.ServiceDesc{
	ServiceName: "stepgres.v1.WorkerService",
	HandlerType: (*WorkerServiceServer)(nil),
	Methods: []grpc.MethodDesc{
		{
			MethodName: "GetRunInput",
			Handler:    _WorkerService_GetRunInput_Handler,
		},
	},
	Streams: []grpc.StreamDesc{
		{
			StreamName:    "Work",
			Handler:       _WorkerService_Work_Handler,
			ServerStreams: true,
			ClientStreams: true,
		},
	},
	Metadata: "stepgres/v1/worker.proto",
}
