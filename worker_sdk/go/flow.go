package stepgres

import (
	"context"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	pb "github.com/stepgres/stepgres/worker_sdk/go/stepgresv1"
)

// Flow defines a flow: what [Client.CreateFlow] takes, or the plan of a [RunSpec], without a slug then.
//
// What is not given is the server's default. Durations are whole seconds.
type Flow = pb.CreateFlowRequest

// Step defines a step of a [Flow]. What is not given is the flow's.
type Step = pb.StepDefinition

// Map is the StepType of steps that fan out: one task for each element of the dependency's output, or of the run's input
// without a dependency.
const Map = pb.StepType_STEP_TYPE_MAP

// MustParams are a step's constants of anything that encodes as a JSON object. It panics when value does not.
func MustParams(value any) *structpb.Struct {
	params := new(structpb.Struct)
	data, err := json.Marshal(value)
	if err == nil {
		err = protojson.Unmarshal(data, params)
	}
	if err != nil {
		panic(fmt.Sprintf("stepgres: params: a %T is not a JSON object: %v", value, err))
	}
	return params
}

// ParsePlan reads a flow from JSON, as a file has it or a model writes it:
// {"slug": …, "steps": [{"slug": …, "depends_on": […], "step_type": "map"}, …]}.
func ParsePlan(document []byte) (*Flow, error) {
	var plan map[string]any
	if err := decode(document, &plan); err != nil {
		return nil, fmt.Errorf("plan: not a JSON object: %w", err)
	}
	// `map` and `single` are taken for the contract's names.
	names := map[any]string{"map": Map.String(), "single": pb.StepType_STEP_TYPE_SINGLE.String()}
	steps, _ := plan["steps"].([]any)
	for _, step := range steps {
		if step, ok := step.(map[string]any); ok && names[step["step_type"]] != "" {
			step["step_type"] = names[step["step_type"]]
		}
	}
	data, err := encode(plan)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	flow := new(Flow)
	if err := protojson.Unmarshal(data, flow); err != nil {
		return nil, fmt.Errorf("plan: %w; see `stepgres flow schema`", err)
	}
	return flow, nil
}

// ApplyFlow makes a flow as a plan says: created when new, left alone when it has this shape, else a new version.
func (c *Client) ApplyFlow(ctx context.Context, plan *Flow) (*pb.CreateFlowResponse, error) {
	plan = proto.CloneOf(plan)
	plan.NewVersion = true
	return c.CreateFlow(ctx, plan)
}
