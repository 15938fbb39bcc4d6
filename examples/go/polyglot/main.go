// Command polyglot serves the handler wordcount.count: one language of the demo in which workers of several languages
// share a run.
package main

import (
	"context"
	"log"
	"os"
	"strings"
	"unicode/utf8"

	stepgres "github.com/stepgres/stepgres/worker_sdk/go"
)

// Input is a task of the map: one text.
type Input struct {
	Item struct {
		Path string `json:"path"`
		Text string `json:"text"`
	} `json:"item"`
}

// Counts are what is told of a text.
type Counts struct {
	Path string `json:"path"`
	// Lines end with \n; what follows the last one is a line too.
	Lines int `json:"lines"`
	// Words stand between white space.
	Words int `json:"words"`
	// Letters are characters of any kind.
	Letters int `json:"letters"`
	// Longest is the word with most characters, the first of several.
	Longest string `json:"longest"`
}

func count(_ context.Context, input Input) (Counts, error) {
	text := input.Item.Text
	counts := Counts{Path: input.Item.Path, Lines: strings.Count(text, "\n"), Letters: utf8.RuneCountInString(text)}
	if text != "" && !strings.HasSuffix(text, "\n") {
		counts.Lines++
	}
	most := 0
	for word := range strings.FieldsSeq(text) {
		counts.Words++
		if length := utf8.RuneCountInString(word); length > most {
			counts.Longest, most = word, length
		}
	}
	return counts, nil
}

func main() {
	client, err := stepgres.NewClient(stepgres.ClientOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	worker := stepgres.NewWorker(client, stepgres.WorkerOptions{Concurrency: 50, Name: os.Getenv("STEPGRES_WORKER_NAME")})
	stepgres.Handle(worker, "wordcount.count", count, stepgres.Describe("Counts lines, words and letters of a text."))
	if err := worker.Run(); err != nil {
		log.Fatal(err)
	}
}
