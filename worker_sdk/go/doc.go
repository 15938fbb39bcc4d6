// Package stepgres is the Go SDK of stepgres: it defines flows, starts and watches runs, and serves handlers.
//
// A [Client] calls a coordinator: it creates flows, starts runs and reads them. A [Worker] leases tasks over one stream,
// executes them with the functions bound by [Handle], and sends the results. It survives whatever happens to the stream:
// what is executing goes on, and results are kept until a coordinator has committed them. [Client.Execute] does both for
// one run: it starts it and serves it here.
//
// A task is executed at least once and recorded exactly once. [Task.IdempotencyKey] is the same for every attempt: hand
// it to whatever the handler changes in other systems.
//
// Flows, requests and answers are the messages of the contract, package stepgresv1. Payloads are JSON.
package stepgres

// Version of this SDK, told to coordinators.
const Version = "0.1.0"
