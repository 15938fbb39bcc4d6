package stepgres_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	stepgres "github.com/stepgres/stepgres/worker_sdk/go"
	pb "github.com/stepgres/stepgres/worker_sdk/go/stepgresv1"
)

func TestClientAndWorkerSpeakTLSAndSendTheirToken(t *testing.T) {
	lender := httptest.NewTLSServer(nil) // for its certificate, of example.com
	defer lender.Close()
	c := newCoordinator(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&lender.TLS.Certificates[0])))
	pb.RegisterRunServiceServer(server, c)
	pb.RegisterWorkerServiceServer(server, c)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	trusted := x509.NewCertPool()
	trusted.AddCert(lender.Certificate())
	client := func(roots *x509.CertPool) *stepgres.Client {
		client, err := stepgres.NewClient(stepgres.ClientOptions{
			Target: listener.Addr().String(), Token: "secret", TLS: &tls.Config{RootCAs: roots, ServerName: "example.com"},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		return client
	}

	run, err := client(trusted).StartRun(t.Context(), stepgres.RunSpec{Flow: "f "})
	if err != nil || run.Flow != "f Bearer secret" {
		t.Errorf("the coordinator saw %v, %v", run, err)
	}
	w := stepgres.NewWorker(client(trusted), stepgres.WorkerOptions{Logger: slog.New(slog.DiscardHandler)})
	stepgres.Handle(w, "echo", echo)
	st := c.open(w)
	st.tasks(task("1", "echo", "{}"))
	st.results(1)

	_, err = client(x509.NewCertPool()).StartRun(t.Context(), stepgres.RunSpec{Flow: "f"})
	var refused *stepgres.Error
	if !errors.As(err, &refused) || !strings.Contains(refused.Message, "certificate") {
		t.Errorf("a stranger's certificate: %v", err)
	}
}
