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

// Code generated by protoc-gen-go. DO NOT EDIT.
// versions:
// 	protoc-gen-go v1.36.12
// 	protoc        v6.31.1
// source: stepgres/v1/worker.proto

package stepgresv1

import (
	protoreflect "google.golang.org/protobuf/reflect/protoreflect"
	protoimpl "google.golang.org/protobuf/runtime/protoimpl"
	reflect "reflect"
	sync "sync"
	unsafe "unsafe"
)

const (
	// Verify that this generated code is sufficiently up-to-date.
	_ = protoimpl.EnforceVersion(20 - protoimpl.MinVersion)
	// Verify that runtime/protoimpl is sufficiently up-to-date.
	_ = protoimpl.EnforceVersion(protoimpl.MaxVersion - 20)
)

// What became of a result.
type AckVerdict int32

const (
	// Never sent.
	AckVerdict_ACK_VERDICT_UNSPECIFIED AckVerdict = 0
	// Committed.
	AckVerdict_ACK_VERDICT_RECORDED AckVerdict = 1
	// An outcome of this lease had been recorded before: this result, or its timeout.
	AckVerdict_ACK_VERDICT_DUPLICATE AckVerdict = 2
	// The lease is over: nothing was changed.
	AckVerdict_ACK_VERDICT_STALE AckVerdict = 3
	// The result breaks a rule: the task failed with the reason instead.
	AckVerdict_ACK_VERDICT_REJECTED AckVerdict = 4
	// Not taken: send it again when `retry_after_ms` have passed.
	AckVerdict_ACK_VERDICT_BUSY AckVerdict = 5
)

// Enum value maps for AckVerdict.
var (
	AckVerdict_name = map[int32]string{
		0: "ACK_VERDICT_UNSPECIFIED",
		1: "ACK_VERDICT_RECORDED",
		2: "ACK_VERDICT_DUPLICATE",
		3: "ACK_VERDICT_STALE",
		4: "ACK_VERDICT_REJECTED",
		5: "ACK_VERDICT_BUSY",
	}
	AckVerdict_value = map[string]int32{
		"ACK_VERDICT_UNSPECIFIED": 0,
		"ACK_VERDICT_RECORDED":    1,
		"ACK_VERDICT_DUPLICATE":   2,
		"ACK_VERDICT_STALE":       3,
		"ACK_VERDICT_REJECTED":    4,
		"ACK_VERDICT_BUSY":        5,
	}
)

func (x AckVerdict) Enum() *AckVerdict {
	p := new(AckVerdict)
	*p = x
	return p
}

func (x AckVerdict) String() string {
	return protoimpl.X.EnumStringOf(x.Descriptor(), protoreflect.EnumNumber(x))
}

func (AckVerdict) Descriptor() protoreflect.EnumDescriptor {
	return file_stepgres_v1_worker_proto_enumTypes[0].Descriptor()
}

func (AckVerdict) Type() protoreflect.EnumType {
	return &file_stepgres_v1_worker_proto_enumTypes[0]
}

func (x AckVerdict) Number() protoreflect.EnumNumber {
	return protoreflect.EnumNumber(x)
}

// Deprecated: Use AckVerdict.Descriptor instead.
func (AckVerdict) EnumDescriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{0}
}

// One frame from the worker.
type WorkRequest struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// What it is.
	//
	// Types that are valid to be assigned to Frame:
	//
	//	*WorkRequest_Hello
	//	*WorkRequest_CreditGrant
	//	*WorkRequest_ResultBatch
	//	*WorkRequest_Heartbeat
	//	*WorkRequest_Goodbye
	Frame         isWorkRequest_Frame `protobuf_oneof:"frame"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *WorkRequest) Reset() {
	*x = WorkRequest{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[0]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *WorkRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*WorkRequest) ProtoMessage() {}

func (x *WorkRequest) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[0]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use WorkRequest.ProtoReflect.Descriptor instead.
func (*WorkRequest) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{0}
}

func (x *WorkRequest) GetFrame() isWorkRequest_Frame {
	if x != nil {
		return x.Frame
	}
	return nil
}

func (x *WorkRequest) GetHello() *Hello {
	if x != nil {
		if x, ok := x.Frame.(*WorkRequest_Hello); ok {
			return x.Hello
		}
	}
	return nil
}

func (x *WorkRequest) GetCreditGrant() *CreditGrant {
	if x != nil {
		if x, ok := x.Frame.(*WorkRequest_CreditGrant); ok {
			return x.CreditGrant
		}
	}
	return nil
}

func (x *WorkRequest) GetResultBatch() *ResultBatch {
	if x != nil {
		if x, ok := x.Frame.(*WorkRequest_ResultBatch); ok {
			return x.ResultBatch
		}
	}
	return nil
}

func (x *WorkRequest) GetHeartbeat() *Heartbeat {
	if x != nil {
		if x, ok := x.Frame.(*WorkRequest_Heartbeat); ok {
			return x.Heartbeat
		}
	}
	return nil
}

func (x *WorkRequest) GetGoodbye() *Goodbye {
	if x != nil {
		if x, ok := x.Frame.(*WorkRequest_Goodbye); ok {
			return x.Goodbye
		}
	}
	return nil
}

type isWorkRequest_Frame interface {
	isWorkRequest_Frame()
}

type WorkRequest_Hello struct {
	// First, once.
	Hello *Hello `protobuf:"bytes,1,opt,name=hello,proto3,oneof"`
}

type WorkRequest_CreditGrant struct {
	// Asks for more tasks.
	CreditGrant *CreditGrant `protobuf:"bytes,2,opt,name=credit_grant,json=creditGrant,proto3,oneof"`
}

type WorkRequest_ResultBatch struct {
	// Results.
	ResultBatch *ResultBatch `protobuf:"bytes,3,opt,name=result_batch,json=resultBatch,proto3,oneof"`
}

type WorkRequest_Heartbeat struct {
	// A sign of life.
	Heartbeat *Heartbeat `protobuf:"bytes,4,opt,name=heartbeat,proto3,oneof"`
}

type WorkRequest_Goodbye struct {
	// Last.
	Goodbye *Goodbye `protobuf:"bytes,5,opt,name=goodbye,proto3,oneof"`
}

func (*WorkRequest_Hello) isWorkRequest_Frame() {}

func (*WorkRequest_CreditGrant) isWorkRequest_Frame() {}

func (*WorkRequest_ResultBatch) isWorkRequest_Frame() {}

func (*WorkRequest_Heartbeat) isWorkRequest_Frame() {}

func (*WorkRequest_Goodbye) isWorkRequest_Frame() {}

// One frame from the coordinator.
type WorkResponse struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// What it is.
	//
	// Types that are valid to be assigned to Frame:
	//
	//	*WorkResponse_Welcome
	//	*WorkResponse_TaskBatch
	//	*WorkResponse_AckBatch
	//	*WorkResponse_CancelTasks
	//	*WorkResponse_LeaseLost
	//	*WorkResponse_Drain
	//	*WorkResponse_Ping
	Frame         isWorkResponse_Frame `protobuf_oneof:"frame"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *WorkResponse) Reset() {
	*x = WorkResponse{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[1]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *WorkResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*WorkResponse) ProtoMessage() {}

func (x *WorkResponse) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[1]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use WorkResponse.ProtoReflect.Descriptor instead.
func (*WorkResponse) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{1}
}

func (x *WorkResponse) GetFrame() isWorkResponse_Frame {
	if x != nil {
		return x.Frame
	}
	return nil
}

func (x *WorkResponse) GetWelcome() *Welcome {
	if x != nil {
		if x, ok := x.Frame.(*WorkResponse_Welcome); ok {
			return x.Welcome
		}
	}
	return nil
}

func (x *WorkResponse) GetTaskBatch() *TaskBatch {
	if x != nil {
		if x, ok := x.Frame.(*WorkResponse_TaskBatch); ok {
			return x.TaskBatch
		}
	}
	return nil
}

func (x *WorkResponse) GetAckBatch() *AckBatch {
	if x != nil {
		if x, ok := x.Frame.(*WorkResponse_AckBatch); ok {
			return x.AckBatch
		}
	}
	return nil
}

func (x *WorkResponse) GetCancelTasks() *CancelTasks {
	if x != nil {
		if x, ok := x.Frame.(*WorkResponse_CancelTasks); ok {
			return x.CancelTasks
		}
	}
	return nil
}

func (x *WorkResponse) GetLeaseLost() *LeaseLost {
	if x != nil {
		if x, ok := x.Frame.(*WorkResponse_LeaseLost); ok {
			return x.LeaseLost
		}
	}
	return nil
}

func (x *WorkResponse) GetDrain() *Drain {
	if x != nil {
		if x, ok := x.Frame.(*WorkResponse_Drain); ok {
			return x.Drain
		}
	}
	return nil
}

func (x *WorkResponse) GetPing() *Ping {
	if x != nil {
		if x, ok := x.Frame.(*WorkResponse_Ping); ok {
			return x.Ping
		}
	}
	return nil
}

type isWorkResponse_Frame interface {
	isWorkResponse_Frame()
}

type WorkResponse_Welcome struct {
	// Answers Hello.
	Welcome *Welcome `protobuf:"bytes,1,opt,name=welcome,proto3,oneof"`
}

type WorkResponse_TaskBatch struct {
	// Hands out tasks.
	TaskBatch *TaskBatch `protobuf:"bytes,2,opt,name=task_batch,json=taskBatch,proto3,oneof"`
}

type WorkResponse_AckBatch struct {
	// Answers results.
	AckBatch *AckBatch `protobuf:"bytes,3,opt,name=ack_batch,json=ackBatch,proto3,oneof"`
}

type WorkResponse_CancelTasks struct {
	// Stops tasks of runs that have ended.
	CancelTasks *CancelTasks `protobuf:"bytes,4,opt,name=cancel_tasks,json=cancelTasks,proto3,oneof"`
}

type WorkResponse_LeaseLost struct {
	// Takes tasks back.
	LeaseLost *LeaseLost `protobuf:"bytes,5,opt,name=lease_lost,json=leaseLost,proto3,oneof"`
}

type WorkResponse_Drain struct {
	// The coordinator goes away.
	Drain *Drain `protobuf:"bytes,6,opt,name=drain,proto3,oneof"`
}

type WorkResponse_Ping struct {
	// Asks for a sign of life.
	Ping *Ping `protobuf:"bytes,7,opt,name=ping,proto3,oneof"`
}

func (*WorkResponse_Welcome) isWorkResponse_Frame() {}

func (*WorkResponse_TaskBatch) isWorkResponse_Frame() {}

func (*WorkResponse_AckBatch) isWorkResponse_Frame() {}

func (*WorkResponse_CancelTasks) isWorkResponse_Frame() {}

func (*WorkResponse_LeaseLost) isWorkResponse_Frame() {}

func (*WorkResponse_Drain) isWorkResponse_Frame() {}

func (*WorkResponse_Ping) isWorkResponse_Frame() {}

// A handler that a worker serves.
type Handler struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Required. `^[a-zA-Z_][a-zA-Z0-9_.-]*$`, up to 260 characters. A step's own handler is `<flow>.<step>`.
	Name string `protobuf:"bytes,1,opt,name=name,proto3" json:"name,omitempty"`
	// For people and agents, up to 8192 characters without U+0000. The Python SDK sends the docstring's first paragraph.
	Description string `protobuf:"bytes,2,opt,name=description,proto3" json:"description,omitempty"`
	// JSON Schema of the step's params: a JSON object that is a valid schema, up to 64 KiB; empty when unknown. Anything
	// else ends the stream with INVALID_ARGUMENT (INVALID_JSON, FIELD_INVALID, NUL_CHARACTER, PAYLOAD_TOO_LARGE).
	ParamsSchema []byte `protobuf:"bytes,3,opt,name=params_schema,json=paramsSchema,proto3" json:"params_schema,omitempty"`
	// JSON Schema of the input, as above. For a handler of maps it describes `{"item": …, "index": …}`.
	InputSchema []byte `protobuf:"bytes,4,opt,name=input_schema,json=inputSchema,proto3" json:"input_schema,omitempty"`
	// JSON Schema of the output, as above.
	OutputSchema  []byte `protobuf:"bytes,5,opt,name=output_schema,json=outputSchema,proto3" json:"output_schema,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Handler) Reset() {
	*x = Handler{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[2]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Handler) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Handler) ProtoMessage() {}

func (x *Handler) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[2]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Handler.ProtoReflect.Descriptor instead.
func (*Handler) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{2}
}

func (x *Handler) GetName() string {
	if x != nil {
		return x.Name
	}
	return ""
}

func (x *Handler) GetDescription() string {
	if x != nil {
		return x.Description
	}
	return ""
}

func (x *Handler) GetParamsSchema() []byte {
	if x != nil {
		return x.ParamsSchema
	}
	return nil
}

func (x *Handler) GetInputSchema() []byte {
	if x != nil {
		return x.InputSchema
	}
	return nil
}

func (x *Handler) GetOutputSchema() []byte {
	if x != nil {
		return x.OutputSchema
	}
	return nil
}

// Handlers that a session serves in one scope.
type Subscription struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Only tasks of runs with this scope; empty for the common one. Up to 128 characters.
	Scope string `protobuf:"bytes,1,opt,name=scope,proto3" json:"scope,omitempty"`
	// No name twice. Flows that use them may come later.
	Handlers      []*Handler `protobuf:"bytes,2,rep,name=handlers,proto3" json:"handlers,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Subscription) Reset() {
	*x = Subscription{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[3]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Subscription) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Subscription) ProtoMessage() {}

func (x *Subscription) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[3]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Subscription.ProtoReflect.Descriptor instead.
func (*Subscription) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{3}
}

func (x *Subscription) GetScope() string {
	if x != nil {
		return x.Scope
	}
	return ""
}

func (x *Subscription) GetHandlers() []*Handler {
	if x != nil {
		return x.Handlers
	}
	return nil
}

// Opens or resumes a session.
type Hello struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Required. Name for people, such as host and process id, up to 200 characters.
	Worker string `protobuf:"bytes,1,opt,name=worker,proto3" json:"worker,omitempty"`
	// Required. 16 random bytes made at the worker's start, kept over reconnects, shown to nobody: it proves that a
	// resume comes from the session's owner.
	InstanceId []byte `protobuf:"bytes,2,opt,name=instance_id,json=instanceId,proto3" json:"instance_id,omitempty"`
	// Oldest protocol version the worker speaks, at least 1.
	MinProtocolVersion int32 `protobuf:"varint,3,opt,name=min_protocol_version,json=minProtocolVersion,proto3" json:"min_protocol_version,omitempty"`
	// Newest protocol version the worker speaks. This text is version 1.
	MaxProtocolVersion int32 `protobuf:"varint,4,opt,name=max_protocol_version,json=maxProtocolVersion,proto3" json:"max_protocol_version,omitempty"`
	// Such as `python`, up to 64 characters.
	SdkLanguage string `protobuf:"bytes,5,opt,name=sdk_language,json=sdkLanguage,proto3" json:"sdk_language,omitempty"`
	// Such as `0.1.0`, up to 64 characters.
	SdkVersion string `protobuf:"bytes,6,opt,name=sdk_version,json=sdkVersion,proto3" json:"sdk_version,omitempty"`
	// Required. What it serves: at least one handler in all, up to 10000, none twice in a scope.
	Subscriptions []*Subscription `protobuf:"bytes,7,rep,name=subscriptions,proto3" json:"subscriptions,omitempty"`
	// Session to resume, from its Welcome. Empty: a new one.
	SessionId []byte `protobuf:"bytes,8,opt,name=session_id,json=sessionId,proto3" json:"session_id,omitempty"`
	// With a resume: tokens of all tasks that are executing or whose results are not acknowledged.
	HeldTokens [][]byte `protobuf:"bytes,9,rep,name=held_tokens,json=heldTokens,proto3" json:"held_tokens,omitempty"`
	// How long the session's tasks wait for a resume when the stream breaks, up to the lease. 0: the server's
	// default, 2000.
	ReconnectGraceMs int32 `protobuf:"varint,10,opt,name=reconnect_grace_ms,json=reconnectGraceMs,proto3" json:"reconnect_grace_ms,omitempty"`
	unknownFields    protoimpl.UnknownFields
	sizeCache        protoimpl.SizeCache
}

func (x *Hello) Reset() {
	*x = Hello{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[4]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Hello) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Hello) ProtoMessage() {}

func (x *Hello) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[4]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Hello.ProtoReflect.Descriptor instead.
func (*Hello) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{4}
}

func (x *Hello) GetWorker() string {
	if x != nil {
		return x.Worker
	}
	return ""
}

func (x *Hello) GetInstanceId() []byte {
	if x != nil {
		return x.InstanceId
	}
	return nil
}

func (x *Hello) GetMinProtocolVersion() int32 {
	if x != nil {
		return x.MinProtocolVersion
	}
	return 0
}

func (x *Hello) GetMaxProtocolVersion() int32 {
	if x != nil {
		return x.MaxProtocolVersion
	}
	return 0
}

func (x *Hello) GetSdkLanguage() string {
	if x != nil {
		return x.SdkLanguage
	}
	return ""
}

func (x *Hello) GetSdkVersion() string {
	if x != nil {
		return x.SdkVersion
	}
	return ""
}

func (x *Hello) GetSubscriptions() []*Subscription {
	if x != nil {
		return x.Subscriptions
	}
	return nil
}

func (x *Hello) GetSessionId() []byte {
	if x != nil {
		return x.SessionId
	}
	return nil
}

func (x *Hello) GetHeldTokens() [][]byte {
	if x != nil {
		return x.HeldTokens
	}
	return nil
}

func (x *Hello) GetReconnectGraceMs() int32 {
	if x != nil {
		return x.ReconnectGraceMs
	}
	return 0
}

// Answers Hello.
type Welcome struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Id of the session, for a resume. 16 bytes.
	SessionId []byte `protobuf:"bytes,1,opt,name=session_id,json=sessionId,proto3" json:"session_id,omitempty"`
	// True when the session of Hello lives on.
	Resumed bool `protobuf:"varint,2,opt,name=resumed,proto3" json:"resumed,omitempty"`
	// Protocol version of this stream.
	ProtocolVersion int32 `protobuf:"varint,3,opt,name=protocol_version,json=protocolVersion,proto3" json:"protocol_version,omitempty"`
	// A session that is silent for so long loses its tasks.
	LeaseMs int32 `protobuf:"varint,4,opt,name=lease_ms,json=leaseMs,proto3" json:"lease_ms,omitempty"`
	// Send some frame at least this often.
	HeartbeatMs int32 `protobuf:"varint,5,opt,name=heartbeat_ms,json=heartbeatMs,proto3" json:"heartbeat_ms,omitempty"`
	// Credits beyond this are cut.
	MaxCredits int32 `protobuf:"varint,6,opt,name=max_credits,json=maxCredits,proto3" json:"max_credits,omitempty"`
	// Largest output of one task.
	MaxOutputBytes int64 `protobuf:"varint,7,opt,name=max_output_bytes,json=maxOutputBytes,proto3" json:"max_output_bytes,omitempty"`
	// Largest frame either side sends.
	MaxFrameBytes int64 `protobuf:"varint,8,opt,name=max_frame_bytes,json=maxFrameBytes,proto3" json:"max_frame_bytes,omitempty"`
	// Id of the coordinator, for logs.
	Coordinator   string `protobuf:"bytes,9,opt,name=coordinator,proto3" json:"coordinator,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Welcome) Reset() {
	*x = Welcome{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[5]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Welcome) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Welcome) ProtoMessage() {}

func (x *Welcome) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[5]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Welcome.ProtoReflect.Descriptor instead.
func (*Welcome) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{5}
}

func (x *Welcome) GetSessionId() []byte {
	if x != nil {
		return x.SessionId
	}
	return nil
}

func (x *Welcome) GetResumed() bool {
	if x != nil {
		return x.Resumed
	}
	return false
}

func (x *Welcome) GetProtocolVersion() int32 {
	if x != nil {
		return x.ProtocolVersion
	}
	return 0
}

func (x *Welcome) GetLeaseMs() int32 {
	if x != nil {
		return x.LeaseMs
	}
	return 0
}

func (x *Welcome) GetHeartbeatMs() int32 {
	if x != nil {
		return x.HeartbeatMs
	}
	return 0
}

func (x *Welcome) GetMaxCredits() int32 {
	if x != nil {
		return x.MaxCredits
	}
	return 0
}

func (x *Welcome) GetMaxOutputBytes() int64 {
	if x != nil {
		return x.MaxOutputBytes
	}
	return 0
}

func (x *Welcome) GetMaxFrameBytes() int64 {
	if x != nil {
		return x.MaxFrameBytes
	}
	return 0
}

func (x *Welcome) GetCoordinator() string {
	if x != nil {
		return x.Coordinator
	}
	return ""
}

// Asks for tasks.
type CreditGrant struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// How many more the worker can take, 1 or more.
	Credits       int32 `protobuf:"varint,1,opt,name=credits,proto3" json:"credits,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *CreditGrant) Reset() {
	*x = CreditGrant{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[6]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *CreditGrant) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*CreditGrant) ProtoMessage() {}

func (x *CreditGrant) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[6]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use CreditGrant.ProtoReflect.Descriptor instead.
func (*CreditGrant) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{6}
}

func (x *CreditGrant) GetCredits() int32 {
	if x != nil {
		return x.Credits
	}
	return 0
}

// A task in the hands of a session.
type LeasedTask struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Opaque; goes into the result.
	Token []byte `protobuf:"bytes,1,opt,name=token,proto3" json:"token,omitempty"`
	// UUID of the run in its canonical text form. `<run_id>:<step>:<task_index>` is the same for every attempt of a
	// task: its idempotency key towards other systems.
	RunId string `protobuf:"bytes,2,opt,name=run_id,json=runId,proto3" json:"run_id,omitempty"`
	// Slug of the flow.
	Flow string `protobuf:"bytes,3,opt,name=flow,proto3" json:"flow,omitempty"`
	// Version of the flow.
	Version int32 `protobuf:"varint,4,opt,name=version,proto3" json:"version,omitempty"`
	// Slug of the step.
	Step string `protobuf:"bytes,5,opt,name=step,proto3" json:"step,omitempty"`
	// 0 for a single step, the element's index for a map.
	TaskIndex int32 `protobuf:"varint,6,opt,name=task_index,json=taskIndex,proto3" json:"task_index,omitempty"`
	// From 1: failures and timeouts so far, plus 1.
	Attempt int32 `protobuf:"varint,7,opt,name=attempt,proto3" json:"attempt,omitempty"`
	// Handler that executes it.
	Handler string `protobuf:"bytes,8,opt,name=handler,proto3" json:"handler,omitempty"`
	// The step's constants as JSON; empty for {}.
	Params []byte `protobuf:"bytes,9,opt,name=params,proto3" json:"params,omitempty"`
	// Seconds it may take from receipt.
	TimeoutS int32 `protobuf:"varint,10,opt,name=timeout_s,json=timeoutS,proto3" json:"timeout_s,omitempty"`
	// Single: `{"run": <run input>, "<dependency>": <output>, …}`. Map: `{"item": <element>, "index": <i>}`.
	Input []byte `protobuf:"bytes,11,opt,name=input,proto3" json:"input,omitempty"`
	// SINGLE or MAP.
	StepType StepType `protobuf:"varint,12,opt,name=step_type,json=stepType,proto3,enum=stepgres.v1.StepType" json:"step_type,omitempty"`
	// Scope of the run; empty for the common one.
	Scope string `protobuf:"bytes,13,opt,name=scope,proto3" json:"scope,omitempty"`
	// W3C trace context of the run; empty without one.
	Traceparent   string `protobuf:"bytes,14,opt,name=traceparent,proto3" json:"traceparent,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *LeasedTask) Reset() {
	*x = LeasedTask{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[7]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *LeasedTask) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*LeasedTask) ProtoMessage() {}

func (x *LeasedTask) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[7]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use LeasedTask.ProtoReflect.Descriptor instead.
func (*LeasedTask) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{7}
}

func (x *LeasedTask) GetToken() []byte {
	if x != nil {
		return x.Token
	}
	return nil
}

func (x *LeasedTask) GetRunId() string {
	if x != nil {
		return x.RunId
	}
	return ""
}

func (x *LeasedTask) GetFlow() string {
	if x != nil {
		return x.Flow
	}
	return ""
}

func (x *LeasedTask) GetVersion() int32 {
	if x != nil {
		return x.Version
	}
	return 0
}

func (x *LeasedTask) GetStep() string {
	if x != nil {
		return x.Step
	}
	return ""
}

func (x *LeasedTask) GetTaskIndex() int32 {
	if x != nil {
		return x.TaskIndex
	}
	return 0
}

func (x *LeasedTask) GetAttempt() int32 {
	if x != nil {
		return x.Attempt
	}
	return 0
}

func (x *LeasedTask) GetHandler() string {
	if x != nil {
		return x.Handler
	}
	return ""
}

func (x *LeasedTask) GetParams() []byte {
	if x != nil {
		return x.Params
	}
	return nil
}

func (x *LeasedTask) GetTimeoutS() int32 {
	if x != nil {
		return x.TimeoutS
	}
	return 0
}

func (x *LeasedTask) GetInput() []byte {
	if x != nil {
		return x.Input
	}
	return nil
}

func (x *LeasedTask) GetStepType() StepType {
	if x != nil {
		return x.StepType
	}
	return StepType_STEP_TYPE_UNSPECIFIED
}

func (x *LeasedTask) GetScope() string {
	if x != nil {
		return x.Scope
	}
	return ""
}

func (x *LeasedTask) GetTraceparent() string {
	if x != nil {
		return x.Traceparent
	}
	return ""
}

// Hands out tasks.
type TaskBatch struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Each uses up one credit.
	Tasks         []*LeasedTask `protobuf:"bytes,1,rep,name=tasks,proto3" json:"tasks,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *TaskBatch) Reset() {
	*x = TaskBatch{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[8]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *TaskBatch) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*TaskBatch) ProtoMessage() {}

func (x *TaskBatch) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[8]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use TaskBatch.ProtoReflect.Descriptor instead.
func (*TaskBatch) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{8}
}

func (x *TaskBatch) GetTasks() []*LeasedTask {
	if x != nil {
		return x.Tasks
	}
	return nil
}

// The handler returned.
type Completed struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Output as UTF-8 JSON, up to Welcome.max_output_bytes.
	Output        []byte `protobuf:"bytes,1,opt,name=output,proto3" json:"output,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Completed) Reset() {
	*x = Completed{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[9]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Completed) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Completed) ProtoMessage() {}

func (x *Completed) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[9]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Completed.ProtoReflect.Descriptor instead.
func (*Completed) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{9}
}

func (x *Completed) GetOutput() []byte {
	if x != nil {
		return x.Output
	}
	return nil
}

// The handler failed.
type Failed struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// UPPER_SNAKE, up to 128 characters. Empty: HANDLER_ERROR.
	Code string `protobuf:"bytes,1,opt,name=code,proto3" json:"code,omitempty"`
	// For people; cut at 8 KiB.
	Message string `protobuf:"bytes,2,opt,name=message,proto3" json:"message,omitempty"`
	// Such as the end of a traceback; cut at 8 KiB.
	Details string `protobuf:"bytes,3,opt,name=details,proto3" json:"details,omitempty"`
	// Fails the task for good, whatever attempts are left.
	NonRetryable bool `protobuf:"varint,4,opt,name=non_retryable,json=nonRetryable,proto3" json:"non_retryable,omitempty"`
	// Replaces the delay before the next attempt, 0 to 604800000 (7 days). Not given: the step's backoff.
	RetryAfterMs  *int64 `protobuf:"varint,5,opt,name=retry_after_ms,json=retryAfterMs,proto3,oneof" json:"retry_after_ms,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Failed) Reset() {
	*x = Failed{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[10]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Failed) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Failed) ProtoMessage() {}

func (x *Failed) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[10]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Failed.ProtoReflect.Descriptor instead.
func (*Failed) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{10}
}

func (x *Failed) GetCode() string {
	if x != nil {
		return x.Code
	}
	return ""
}

func (x *Failed) GetMessage() string {
	if x != nil {
		return x.Message
	}
	return ""
}

func (x *Failed) GetDetails() string {
	if x != nil {
		return x.Details
	}
	return ""
}

func (x *Failed) GetNonRetryable() bool {
	if x != nil {
		return x.NonRetryable
	}
	return false
}

func (x *Failed) GetRetryAfterMs() int64 {
	if x != nil && x.RetryAfterMs != nil {
		return *x.RetryAfterMs
	}
	return 0
}

// The worker hands the task back unexecuted.
type Released struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Released) Reset() {
	*x = Released{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[11]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Released) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Released) ProtoMessage() {}

func (x *Released) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[11]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Released.ProtoReflect.Descriptor instead.
func (*Released) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{11}
}

// What became of a task.
type Result struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Token of the lease.
	Token []byte `protobuf:"bytes,1,opt,name=token,proto3" json:"token,omitempty"`
	// What became of it.
	//
	// Types that are valid to be assigned to Outcome:
	//
	//	*Result_Completed
	//	*Result_Failed
	//	*Result_Released
	Outcome       isResult_Outcome `protobuf_oneof:"outcome"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Result) Reset() {
	*x = Result{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[12]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Result) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Result) ProtoMessage() {}

func (x *Result) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[12]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Result.ProtoReflect.Descriptor instead.
func (*Result) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{12}
}

func (x *Result) GetToken() []byte {
	if x != nil {
		return x.Token
	}
	return nil
}

func (x *Result) GetOutcome() isResult_Outcome {
	if x != nil {
		return x.Outcome
	}
	return nil
}

func (x *Result) GetCompleted() *Completed {
	if x != nil {
		if x, ok := x.Outcome.(*Result_Completed); ok {
			return x.Completed
		}
	}
	return nil
}

func (x *Result) GetFailed() *Failed {
	if x != nil {
		if x, ok := x.Outcome.(*Result_Failed); ok {
			return x.Failed
		}
	}
	return nil
}

func (x *Result) GetReleased() *Released {
	if x != nil {
		if x, ok := x.Outcome.(*Result_Released); ok {
			return x.Released
		}
	}
	return nil
}

type isResult_Outcome interface {
	isResult_Outcome()
}

type Result_Completed struct {
	// It has an output.
	Completed *Completed `protobuf:"bytes,2,opt,name=completed,proto3,oneof"`
}

type Result_Failed struct {
	// It failed.
	Failed *Failed `protobuf:"bytes,3,opt,name=failed,proto3,oneof"`
}

type Result_Released struct {
	// It was not executed.
	Released *Released `protobuf:"bytes,4,opt,name=released,proto3,oneof"`
}

func (*Result_Completed) isResult_Outcome() {}

func (*Result_Failed) isResult_Outcome() {}

func (*Result_Released) isResult_Outcome() {}

// Sends results.
type ResultBatch struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// At most 500 in a frame.
	Results []*Result `protobuf:"bytes,1,rep,name=results,proto3" json:"results,omitempty"`
	// As a CreditGrant of so many behind the results; 0 = none, the default. Slots that were freed by the results are
	// best granted here: the coordinator then records and leases in one transaction, and a frame is saved.
	Credits       int32 `protobuf:"varint,2,opt,name=credits,proto3" json:"credits,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *ResultBatch) Reset() {
	*x = ResultBatch{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[13]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *ResultBatch) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*ResultBatch) ProtoMessage() {}

func (x *ResultBatch) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[13]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use ResultBatch.ProtoReflect.Descriptor instead.
func (*ResultBatch) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{13}
}

func (x *ResultBatch) GetResults() []*Result {
	if x != nil {
		return x.Results
	}
	return nil
}

func (x *ResultBatch) GetCredits() int32 {
	if x != nil {
		return x.Credits
	}
	return 0
}

// Answers one result.
type Ack struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Token of the result.
	Token []byte `protobuf:"bytes,1,opt,name=token,proto3" json:"token,omitempty"`
	// The verdict.
	Verdict AckVerdict `protobuf:"varint,2,opt,name=verdict,proto3,enum=stepgres.v1.AckVerdict" json:"verdict,omitempty"`
	// Why it was rejected or is stale.
	Reason ErrorReason `protobuf:"varint,3,opt,name=reason,proto3,enum=stepgres.v1.ErrorReason" json:"reason,omitempty"`
	// For people; empty unless rejected.
	Message string `protobuf:"bytes,4,opt,name=message,proto3" json:"message,omitempty"`
	// With BUSY: how long to wait.
	RetryAfterMs  int32 `protobuf:"varint,5,opt,name=retry_after_ms,json=retryAfterMs,proto3" json:"retry_after_ms,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Ack) Reset() {
	*x = Ack{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[14]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Ack) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Ack) ProtoMessage() {}

func (x *Ack) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[14]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Ack.ProtoReflect.Descriptor instead.
func (*Ack) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{14}
}

func (x *Ack) GetToken() []byte {
	if x != nil {
		return x.Token
	}
	return nil
}

func (x *Ack) GetVerdict() AckVerdict {
	if x != nil {
		return x.Verdict
	}
	return AckVerdict_ACK_VERDICT_UNSPECIFIED
}

func (x *Ack) GetReason() ErrorReason {
	if x != nil {
		return x.Reason
	}
	return ErrorReason_ERROR_REASON_UNSPECIFIED
}

func (x *Ack) GetMessage() string {
	if x != nil {
		return x.Message
	}
	return ""
}

func (x *Ack) GetRetryAfterMs() int32 {
	if x != nil {
		return x.RetryAfterMs
	}
	return 0
}

// Answers results.
type AckBatch struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// In no order.
	Acks          []*Ack `protobuf:"bytes,1,rep,name=acks,proto3" json:"acks,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *AckBatch) Reset() {
	*x = AckBatch{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[15]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *AckBatch) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*AckBatch) ProtoMessage() {}

func (x *AckBatch) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[15]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use AckBatch.ProtoReflect.Descriptor instead.
func (*AckBatch) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{15}
}

func (x *AckBatch) GetAcks() []*Ack {
	if x != nil {
		return x.Acks
	}
	return nil
}

// How far a task is.
type TaskProgress struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Token of the lease.
	Token []byte `protobuf:"bytes,1,opt,name=token,proto3" json:"token,omitempty"`
	// 0 to 1.
	Fraction float32 `protobuf:"fixed32,2,opt,name=fraction,proto3" json:"fraction,omitempty"`
	// Up to 200 characters; longer is cut.
	Message       string `protobuf:"bytes,3,opt,name=message,proto3" json:"message,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *TaskProgress) Reset() {
	*x = TaskProgress{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[16]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *TaskProgress) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*TaskProgress) ProtoMessage() {}

func (x *TaskProgress) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[16]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use TaskProgress.ProtoReflect.Descriptor instead.
func (*TaskProgress) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{16}
}

func (x *TaskProgress) GetToken() []byte {
	if x != nil {
		return x.Token
	}
	return nil
}

func (x *TaskProgress) GetFraction() float32 {
	if x != nil {
		return x.Fraction
	}
	return 0
}

func (x *TaskProgress) GetMessage() string {
	if x != nil {
		return x.Message
	}
	return ""
}

// A sign of life.
type Heartbeat struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Tasks whose progress has changed.
	Progress      []*TaskProgress `protobuf:"bytes,1,rep,name=progress,proto3" json:"progress,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Heartbeat) Reset() {
	*x = Heartbeat{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[17]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Heartbeat) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Heartbeat) ProtoMessage() {}

func (x *Heartbeat) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[17]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Heartbeat.ProtoReflect.Descriptor instead.
func (*Heartbeat) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{17}
}

func (x *Heartbeat) GetProgress() []*TaskProgress {
	if x != nil {
		return x.Progress
	}
	return nil
}

// The worker leaves. What it still holds goes back to the queue at once.
type Goodbye struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// For logs, up to 200 characters.
	Reason        string `protobuf:"bytes,1,opt,name=reason,proto3" json:"reason,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Goodbye) Reset() {
	*x = Goodbye{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[18]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Goodbye) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Goodbye) ProtoMessage() {}

func (x *Goodbye) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[18]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Goodbye.ProtoReflect.Descriptor instead.
func (*Goodbye) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{18}
}

func (x *Goodbye) GetReason() string {
	if x != nil {
		return x.Reason
	}
	return ""
}

// Runs have ended: stop these tasks.
type CancelTasks struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Tokens of leases.
	Tokens [][]byte `protobuf:"bytes,1,rep,name=tokens,proto3" json:"tokens,omitempty"`
	// For people.
	Reason        string `protobuf:"bytes,2,opt,name=reason,proto3" json:"reason,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *CancelTasks) Reset() {
	*x = CancelTasks{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[19]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *CancelTasks) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*CancelTasks) ProtoMessage() {}

func (x *CancelTasks) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[19]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use CancelTasks.ProtoReflect.Descriptor instead.
func (*CancelTasks) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{19}
}

func (x *CancelTasks) GetTokens() [][]byte {
	if x != nil {
		return x.Tokens
	}
	return nil
}

func (x *CancelTasks) GetReason() string {
	if x != nil {
		return x.Reason
	}
	return ""
}

// Leases that the session does not have any more: stop these tasks and drop their results.
type LeaseLost struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Tokens of leases.
	Tokens [][]byte `protobuf:"bytes,1,rep,name=tokens,proto3" json:"tokens,omitempty"`
	// For people.
	Reason        string `protobuf:"bytes,2,opt,name=reason,proto3" json:"reason,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *LeaseLost) Reset() {
	*x = LeaseLost{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[20]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *LeaseLost) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*LeaseLost) ProtoMessage() {}

func (x *LeaseLost) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[20]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use LeaseLost.ProtoReflect.Descriptor instead.
func (*LeaseLost) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{20}
}

func (x *LeaseLost) GetTokens() [][]byte {
	if x != nil {
		return x.Tokens
	}
	return nil
}

func (x *LeaseLost) GetReason() string {
	if x != nil {
		return x.Reason
	}
	return ""
}

// The coordinator goes away.
type Drain struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Milliseconds until it closes the stream.
	DeadlineMs int32 `protobuf:"varint,1,opt,name=deadline_ms,json=deadlineMs,proto3" json:"deadline_ms,omitempty"`
	// For logs.
	Reason        string `protobuf:"bytes,2,opt,name=reason,proto3" json:"reason,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Drain) Reset() {
	*x = Drain{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[21]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Drain) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Drain) ProtoMessage() {}

func (x *Drain) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[21]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Drain.ProtoReflect.Descriptor instead.
func (*Drain) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{21}
}

func (x *Drain) GetDeadlineMs() int32 {
	if x != nil {
		return x.DeadlineMs
	}
	return 0
}

func (x *Drain) GetReason() string {
	if x != nil {
		return x.Reason
	}
	return ""
}

// Asks for any frame at once.
type Ping struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Ping) Reset() {
	*x = Ping{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[22]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Ping) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Ping) ProtoMessage() {}

func (x *Ping) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[22]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Ping.ProtoReflect.Descriptor instead.
func (*Ping) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{22}
}

// Names a leased task.
type GetRunInputRequest struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Required. Token of a lease that the worker holds.
	Token         []byte `protobuf:"bytes,1,opt,name=token,proto3" json:"token,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *GetRunInputRequest) Reset() {
	*x = GetRunInputRequest{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[23]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *GetRunInputRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*GetRunInputRequest) ProtoMessage() {}

func (x *GetRunInputRequest) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[23]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use GetRunInputRequest.ProtoReflect.Descriptor instead.
func (*GetRunInputRequest) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{23}
}

func (x *GetRunInputRequest) GetToken() []byte {
	if x != nil {
		return x.Token
	}
	return nil
}

// The input of the task's run.
type GetRunInputResponse struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// As UTF-8 JSON.
	Input         []byte `protobuf:"bytes,1,opt,name=input,proto3" json:"input,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *GetRunInputResponse) Reset() {
	*x = GetRunInputResponse{}
	mi := &file_stepgres_v1_worker_proto_msgTypes[24]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *GetRunInputResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*GetRunInputResponse) ProtoMessage() {}

func (x *GetRunInputResponse) ProtoReflect() protoreflect.Message {
	mi := &file_stepgres_v1_worker_proto_msgTypes[24]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use GetRunInputResponse.ProtoReflect.Descriptor instead.
func (*GetRunInputResponse) Descriptor() ([]byte, []int) {
	return file_stepgres_v1_worker_proto_rawDescGZIP(), []int{24}
}

func (x *GetRunInputResponse) GetInput() []byte {
	if x != nil {
		return x.Input
	}
	return nil
}

var File_stepgres_v1_worker_proto protoreflect.FileDescriptor

const file_stepgres_v1_worker_proto_rawDesc = "" +
	"\n" +
	"\x18stepgres/v1/worker.proto\x12\vstepgres.v1\x1a\x18stepgres/v1/common.proto\"\xaa\x02\n" +
	"\vWorkRequest\x12*\n" +
	"\x05hello\x18\x01 \x01(\v2\x12.stepgres.v1.HelloH\x00R\x05hello\x12=\n" +
	"\fcredit_grant\x18\x02 \x01(\v2\x18.stepgres.v1.CreditGrantH\x00R\vcreditGrant\x12=\n" +
	"\fresult_batch\x18\x03 \x01(\v2\x18.stepgres.v1.ResultBatchH\x00R\vresultBatch\x126\n" +
	"\theartbeat\x18\x04 \x01(\v2\x16.stepgres.v1.HeartbeatH\x00R\theartbeat\x120\n" +
	"\agoodbye\x18\x05 \x01(\v2\x14.stepgres.v1.GoodbyeH\x00R\agoodbyeB\a\n" +
	"\x05frame\"\x85\x03\n" +
	"\fWorkResponse\x120\n" +
	"\awelcome\x18\x01 \x01(\v2\x14.stepgres.v1.WelcomeH\x00R\awelcome\x127\n" +
	"\n" +
	"task_batch\x18\x02 \x01(\v2\x16.stepgres.v1.TaskBatchH\x00R\ttaskBatch\x124\n" +
	"\tack_batch\x18\x03 \x01(\v2\x15.stepgres.v1.AckBatchH\x00R\backBatch\x12=\n" +
	"\fcancel_tasks\x18\x04 \x01(\v2\x18.stepgres.v1.CancelTasksH\x00R\vcancelTasks\x127\n" +
	"\n" +
	"lease_lost\x18\x05 \x01(\v2\x16.stepgres.v1.LeaseLostH\x00R\tleaseLost\x12*\n" +
	"\x05drain\x18\x06 \x01(\v2\x12.stepgres.v1.DrainH\x00R\x05drain\x12'\n" +
	"\x04ping\x18\a \x01(\v2\x11.stepgres.v1.PingH\x00R\x04pingB\a\n" +
	"\x05frame\"\xac\x01\n" +
	"\aHandler\x12\x12\n" +
	"\x04name\x18\x01 \x01(\tR\x04name\x12 \n" +
	"\vdescription\x18\x02 \x01(\tR\vdescription\x12#\n" +
	"\rparams_schema\x18\x03 \x01(\fR\fparamsSchema\x12!\n" +
	"\finput_schema\x18\x04 \x01(\fR\vinputSchema\x12#\n" +
	"\routput_schema\x18\x05 \x01(\fR\foutputSchema\"V\n" +
	"\fSubscription\x12\x14\n" +
	"\x05scope\x18\x01 \x01(\tR\x05scope\x120\n" +
	"\bhandlers\x18\x02 \x03(\v2\x14.stepgres.v1.HandlerR\bhandlers\"\x97\x03\n" +
	"\x05Hello\x12\x16\n" +
	"\x06worker\x18\x01 \x01(\tR\x06worker\x12\x1f\n" +
	"\vinstance_id\x18\x02 \x01(\fR\n" +
	"instanceId\x120\n" +
	"\x14min_protocol_version\x18\x03 \x01(\x05R\x12minProtocolVersion\x120\n" +
	"\x14max_protocol_version\x18\x04 \x01(\x05R\x12maxProtocolVersion\x12!\n" +
	"\fsdk_language\x18\x05 \x01(\tR\vsdkLanguage\x12\x1f\n" +
	"\vsdk_version\x18\x06 \x01(\tR\n" +
	"sdkVersion\x12?\n" +
	"\rsubscriptions\x18\a \x03(\v2\x19.stepgres.v1.SubscriptionR\rsubscriptions\x12\x1d\n" +
	"\n" +
	"session_id\x18\b \x01(\fR\tsessionId\x12\x1f\n" +
	"\vheld_tokens\x18\t \x03(\fR\n" +
	"heldTokens\x12,\n" +
	"\x12reconnect_grace_ms\x18\n" +
	" \x01(\x05R\x10reconnectGraceMs\"\xc0\x02\n" +
	"\aWelcome\x12\x1d\n" +
	"\n" +
	"session_id\x18\x01 \x01(\fR\tsessionId\x12\x18\n" +
	"\aresumed\x18\x02 \x01(\bR\aresumed\x12)\n" +
	"\x10protocol_version\x18\x03 \x01(\x05R\x0fprotocolVersion\x12\x19\n" +
	"\blease_ms\x18\x04 \x01(\x05R\aleaseMs\x12!\n" +
	"\fheartbeat_ms\x18\x05 \x01(\x05R\vheartbeatMs\x12\x1f\n" +
	"\vmax_credits\x18\x06 \x01(\x05R\n" +
	"maxCredits\x12(\n" +
	"\x10max_output_bytes\x18\a \x01(\x03R\x0emaxOutputBytes\x12&\n" +
	"\x0fmax_frame_bytes\x18\b \x01(\x03R\rmaxFrameBytes\x12 \n" +
	"\vcoordinator\x18\t \x01(\tR\vcoordinator\"'\n" +
	"\vCreditGrant\x12\x18\n" +
	"\acredits\x18\x01 \x01(\x05R\acredits\"\x85\x03\n" +
	"\n" +
	"LeasedTask\x12\x14\n" +
	"\x05token\x18\x01 \x01(\fR\x05token\x12\x15\n" +
	"\x06run_id\x18\x02 \x01(\tR\x05runId\x12\x12\n" +
	"\x04flow\x18\x03 \x01(\tR\x04flow\x12\x18\n" +
	"\aversion\x18\x04 \x01(\x05R\aversion\x12\x12\n" +
	"\x04step\x18\x05 \x01(\tR\x04step\x12\x1d\n" +
	"\n" +
	"task_index\x18\x06 \x01(\x05R\ttaskIndex\x12\x18\n" +
	"\aattempt\x18\a \x01(\x05R\aattempt\x12\x18\n" +
	"\ahandler\x18\b \x01(\tR\ahandler\x12\x16\n" +
	"\x06params\x18\t \x01(\fR\x06params\x12\x1b\n" +
	"\ttimeout_s\x18\n" +
	" \x01(\x05R\btimeoutS\x12\x14\n" +
	"\x05input\x18\v \x01(\fR\x05input\x122\n" +
	"\tstep_type\x18\f \x01(\x0e2\x15.stepgres.v1.StepTypeR\bstepType\x12\x14\n" +
	"\x05scope\x18\r \x01(\tR\x05scope\x12 \n" +
	"\vtraceparent\x18\x0e \x01(\tR\vtraceparent\":\n" +
	"\tTaskBatch\x12-\n" +
	"\x05tasks\x18\x01 \x03(\v2\x17.stepgres.v1.LeasedTaskR\x05tasks\"#\n" +
	"\tCompleted\x12\x16\n" +
	"\x06output\x18\x01 \x01(\fR\x06output\"\xb3\x01\n" +
	"\x06Failed\x12\x12\n" +
	"\x04code\x18\x01 \x01(\tR\x04code\x12\x18\n" +
	"\amessage\x18\x02 \x01(\tR\amessage\x12\x18\n" +
	"\adetails\x18\x03 \x01(\tR\adetails\x12#\n" +
	"\rnon_retryable\x18\x04 \x01(\bR\fnonRetryable\x12)\n" +
	"\x0eretry_after_ms\x18\x05 \x01(\x03H\x00R\fretryAfterMs\x88\x01\x01B\x11\n" +
	"\x0f_retry_after_ms\"\n" +
	"\n" +
	"\bReleased\"\xc5\x01\n" +
	"\x06Result\x12\x14\n" +
	"\x05token\x18\x01 \x01(\fR\x05token\x126\n" +
	"\tcompleted\x18\x02 \x01(\v2\x16.stepgres.v1.CompletedH\x00R\tcompleted\x12-\n" +
	"\x06failed\x18\x03 \x01(\v2\x13.stepgres.v1.FailedH\x00R\x06failed\x123\n" +
	"\breleased\x18\x04 \x01(\v2\x15.stepgres.v1.ReleasedH\x00R\breleasedB\t\n" +
	"\aoutcome\"V\n" +
	"\vResultBatch\x12-\n" +
	"\aresults\x18\x01 \x03(\v2\x13.stepgres.v1.ResultR\aresults\x12\x18\n" +
	"\acredits\x18\x02 \x01(\x05R\acredits\"\xc0\x01\n" +
	"\x03Ack\x12\x14\n" +
	"\x05token\x18\x01 \x01(\fR\x05token\x121\n" +
	"\averdict\x18\x02 \x01(\x0e2\x17.stepgres.v1.AckVerdictR\averdict\x120\n" +
	"\x06reason\x18\x03 \x01(\x0e2\x18.stepgres.v1.ErrorReasonR\x06reason\x12\x18\n" +
	"\amessage\x18\x04 \x01(\tR\amessage\x12$\n" +
	"\x0eretry_after_ms\x18\x05 \x01(\x05R\fretryAfterMs\"0\n" +
	"\bAckBatch\x12$\n" +
	"\x04acks\x18\x01 \x03(\v2\x10.stepgres.v1.AckR\x04acks\"Z\n" +
	"\fTaskProgress\x12\x14\n" +
	"\x05token\x18\x01 \x01(\fR\x05token\x12\x1a\n" +
	"\bfraction\x18\x02 \x01(\x02R\bfraction\x12\x18\n" +
	"\amessage\x18\x03 \x01(\tR\amessage\"B\n" +
	"\tHeartbeat\x125\n" +
	"\bprogress\x18\x01 \x03(\v2\x19.stepgres.v1.TaskProgressR\bprogress\"!\n" +
	"\aGoodbye\x12\x16\n" +
	"\x06reason\x18\x01 \x01(\tR\x06reason\"=\n" +
	"\vCancelTasks\x12\x16\n" +
	"\x06tokens\x18\x01 \x03(\fR\x06tokens\x12\x16\n" +
	"\x06reason\x18\x02 \x01(\tR\x06reason\";\n" +
	"\tLeaseLost\x12\x16\n" +
	"\x06tokens\x18\x01 \x03(\fR\x06tokens\x12\x16\n" +
	"\x06reason\x18\x02 \x01(\tR\x06reason\"@\n" +
	"\x05Drain\x12\x1f\n" +
	"\vdeadline_ms\x18\x01 \x01(\x05R\n" +
	"deadlineMs\x12\x16\n" +
	"\x06reason\x18\x02 \x01(\tR\x06reason\"\x06\n" +
	"\x04Ping\"*\n" +
	"\x12GetRunInputRequest\x12\x14\n" +
	"\x05token\x18\x01 \x01(\fR\x05token\"+\n" +
	"\x13GetRunInputResponse\x12\x14\n" +
	"\x05input\x18\x01 \x01(\fR\x05input*\xa5\x01\n" +
	"\n" +
	"AckVerdict\x12\x1b\n" +
	"\x17ACK_VERDICT_UNSPECIFIED\x10\x00\x12\x18\n" +
	"\x14ACK_VERDICT_RECORDED\x10\x01\x12\x19\n" +
	"\x15ACK_VERDICT_DUPLICATE\x10\x02\x12\x15\n" +
	"\x11ACK_VERDICT_STALE\x10\x03\x12\x18\n" +
	"\x14ACK_VERDICT_REJECTED\x10\x04\x12\x14\n" +
	"\x10ACK_VERDICT_BUSY\x10\x052\xa2\x01\n" +
	"\rWorkerService\x12?\n" +
	"\x04Work\x12\x18.stepgres.v1.WorkRequest\x1a\x19.stepgres.v1.WorkResponse(\x010\x01\x12P\n" +
	"\vGetRunInput\x12\x1f.stepgres.v1.GetRunInputRequest\x1a .stepgres.v1.GetRunInputResponseb\x06proto3"

var (
	file_stepgres_v1_worker_proto_rawDescOnce sync.Once
	file_stepgres_v1_worker_proto_rawDescData []byte
)

func file_stepgres_v1_worker_proto_rawDescGZIP() []byte {
	file_stepgres_v1_worker_proto_rawDescOnce.Do(func() {
		file_stepgres_v1_worker_proto_rawDescData = protoimpl.X.CompressGZIP(unsafe.Slice(unsafe.StringData(file_stepgres_v1_worker_proto_rawDesc), len(file_stepgres_v1_worker_proto_rawDesc)))
	})
	return file_stepgres_v1_worker_proto_rawDescData
}

var file_stepgres_v1_worker_proto_enumTypes = make([]protoimpl.EnumInfo, 1)
var file_stepgres_v1_worker_proto_msgTypes = make([]protoimpl.MessageInfo, 25)
var file_stepgres_v1_worker_proto_goTypes = []any{
	(AckVerdict)(0),             // 0: stepgres.v1.AckVerdict
	(*WorkRequest)(nil),         // 1: stepgres.v1.WorkRequest
	(*WorkResponse)(nil),        // 2: stepgres.v1.WorkResponse
	(*Handler)(nil),             // 3: stepgres.v1.Handler
	(*Subscription)(nil),        // 4: stepgres.v1.Subscription
	(*Hello)(nil),               // 5: stepgres.v1.Hello
	(*Welcome)(nil),             // 6: stepgres.v1.Welcome
	(*CreditGrant)(nil),         // 7: stepgres.v1.CreditGrant
	(*LeasedTask)(nil),          // 8: stepgres.v1.LeasedTask
	(*TaskBatch)(nil),           // 9: stepgres.v1.TaskBatch
	(*Completed)(nil),           // 10: stepgres.v1.Completed
	(*Failed)(nil),              // 11: stepgres.v1.Failed
	(*Released)(nil),            // 12: stepgres.v1.Released
	(*Result)(nil),              // 13: stepgres.v1.Result
	(*ResultBatch)(nil),         // 14: stepgres.v1.ResultBatch
	(*Ack)(nil),                 // 15: stepgres.v1.Ack
	(*AckBatch)(nil),            // 16: stepgres.v1.AckBatch
	(*TaskProgress)(nil),        // 17: stepgres.v1.TaskProgress
	(*Heartbeat)(nil),           // 18: stepgres.v1.Heartbeat
	(*Goodbye)(nil),             // 19: stepgres.v1.Goodbye
	(*CancelTasks)(nil),         // 20: stepgres.v1.CancelTasks
	(*LeaseLost)(nil),           // 21: stepgres.v1.LeaseLost
	(*Drain)(nil),               // 22: stepgres.v1.Drain
	(*Ping)(nil),                // 23: stepgres.v1.Ping
	(*GetRunInputRequest)(nil),  // 24: stepgres.v1.GetRunInputRequest
	(*GetRunInputResponse)(nil), // 25: stepgres.v1.GetRunInputResponse
	(StepType)(0),               // 26: stepgres.v1.StepType
	(ErrorReason)(0),            // 27: stepgres.v1.ErrorReason
}
var file_stepgres_v1_worker_proto_depIdxs = []int32{
	5,  // 0: stepgres.v1.WorkRequest.hello:type_name -> stepgres.v1.Hello
	7,  // 1: stepgres.v1.WorkRequest.credit_grant:type_name -> stepgres.v1.CreditGrant
	14, // 2: stepgres.v1.WorkRequest.result_batch:type_name -> stepgres.v1.ResultBatch
	18, // 3: stepgres.v1.WorkRequest.heartbeat:type_name -> stepgres.v1.Heartbeat
	19, // 4: stepgres.v1.WorkRequest.goodbye:type_name -> stepgres.v1.Goodbye
	6,  // 5: stepgres.v1.WorkResponse.welcome:type_name -> stepgres.v1.Welcome
	9,  // 6: stepgres.v1.WorkResponse.task_batch:type_name -> stepgres.v1.TaskBatch
	16, // 7: stepgres.v1.WorkResponse.ack_batch:type_name -> stepgres.v1.AckBatch
	20, // 8: stepgres.v1.WorkResponse.cancel_tasks:type_name -> stepgres.v1.CancelTasks
	21, // 9: stepgres.v1.WorkResponse.lease_lost:type_name -> stepgres.v1.LeaseLost
	22, // 10: stepgres.v1.WorkResponse.drain:type_name -> stepgres.v1.Drain
	23, // 11: stepgres.v1.WorkResponse.ping:type_name -> stepgres.v1.Ping
	3,  // 12: stepgres.v1.Subscription.handlers:type_name -> stepgres.v1.Handler
	4,  // 13: stepgres.v1.Hello.subscriptions:type_name -> stepgres.v1.Subscription
	26, // 14: stepgres.v1.LeasedTask.step_type:type_name -> stepgres.v1.StepType
	8,  // 15: stepgres.v1.TaskBatch.tasks:type_name -> stepgres.v1.LeasedTask
	10, // 16: stepgres.v1.Result.completed:type_name -> stepgres.v1.Completed
	11, // 17: stepgres.v1.Result.failed:type_name -> stepgres.v1.Failed
	12, // 18: stepgres.v1.Result.released:type_name -> stepgres.v1.Released
	13, // 19: stepgres.v1.ResultBatch.results:type_name -> stepgres.v1.Result
	0,  // 20: stepgres.v1.Ack.verdict:type_name -> stepgres.v1.AckVerdict
	27, // 21: stepgres.v1.Ack.reason:type_name -> stepgres.v1.ErrorReason
	15, // 22: stepgres.v1.AckBatch.acks:type_name -> stepgres.v1.Ack
	17, // 23: stepgres.v1.Heartbeat.progress:type_name -> stepgres.v1.TaskProgress
	1,  // 24: stepgres.v1.WorkerService.Work:input_type -> stepgres.v1.WorkRequest
	24, // 25: stepgres.v1.WorkerService.GetRunInput:input_type -> stepgres.v1.GetRunInputRequest
	2,  // 26: stepgres.v1.WorkerService.Work:output_type -> stepgres.v1.WorkResponse
	25, // 27: stepgres.v1.WorkerService.GetRunInput:output_type -> stepgres.v1.GetRunInputResponse
	26, // [26:28] is the sub-list for method output_type
	24, // [24:26] is the sub-list for method input_type
	24, // [24:24] is the sub-list for extension type_name
	24, // [24:24] is the sub-list for extension extendee
	0,  // [0:24] is the sub-list for field type_name
}

func init() { file_stepgres_v1_worker_proto_init() }
func file_stepgres_v1_worker_proto_init() {
	if File_stepgres_v1_worker_proto != nil {
		return
	}
	file_stepgres_v1_common_proto_init()
	file_stepgres_v1_worker_proto_msgTypes[0].OneofWrappers = []any{
		(*WorkRequest_Hello)(nil),
		(*WorkRequest_CreditGrant)(nil),
		(*WorkRequest_ResultBatch)(nil),
		(*WorkRequest_Heartbeat)(nil),
		(*WorkRequest_Goodbye)(nil),
	}
	file_stepgres_v1_worker_proto_msgTypes[1].OneofWrappers = []any{
		(*WorkResponse_Welcome)(nil),
		(*WorkResponse_TaskBatch)(nil),
		(*WorkResponse_AckBatch)(nil),
		(*WorkResponse_CancelTasks)(nil),
		(*WorkResponse_LeaseLost)(nil),
		(*WorkResponse_Drain)(nil),
		(*WorkResponse_Ping)(nil),
	}
	file_stepgres_v1_worker_proto_msgTypes[10].OneofWrappers = []any{}
	file_stepgres_v1_worker_proto_msgTypes[12].OneofWrappers = []any{
		(*Result_Completed)(nil),
		(*Result_Failed)(nil),
		(*Result_Released)(nil),
	}
	type x struct{}
	out := protoimpl.TypeBuilder{
		File: protoimpl.DescBuilder{
			GoPackagePath: reflect.TypeOf(x{}).PkgPath(),
			RawDescriptor: unsafe.Slice(unsafe.StringData(file_stepgres_v1_worker_proto_rawDesc), len(file_stepgres_v1_worker_proto_rawDesc)),
			NumEnums:      1,
			NumMessages:   25,
			NumExtensions: 0,
			NumServices:   1,
		},
		GoTypes:           file_stepgres_v1_worker_proto_goTypes,
		DependencyIndexes: file_stepgres_v1_worker_proto_depIdxs,
		EnumInfos:         file_stepgres_v1_worker_proto_enumTypes,
		MessageInfos:      file_stepgres_v1_worker_proto_msgTypes,
	}.Build()
	File_stepgres_v1_worker_proto = out.File
	file_stepgres_v1_worker_proto_goTypes = nil
	file_stepgres_v1_worker_proto_depIdxs = nil
}
