// The peer in Go: the contest's contract as a Go service usually has it, with httprouter, a pool of pgx, a procedure
// that locks the client's row, and one write for each answer. galo-bench builds it and runs two of them behind nginx,
// as it runs two nodes.
//
// It takes DATABASE_URL and these arguments: the path of its unix socket and the number of its workers.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"
)

// The heap may grow to five times what is live before it is collected. The live heap is some megabytes, so the default
// of twice would collect it dozens of times a second.
const gcPercent = 400

// How long requests under way may take when the peer stops.
const drainTimeout = 10 * time.Second

func main() {
	socket := flag.String("listen", "", "the path of the unix socket")
	workers := flag.Int("workers", 1, "how many threads run Go code at a time")
	flag.Parse()
	log.SetFlags(0)
	if err := run(*socket, *workers); err != nil {
		log.Fatal(err)
	}
}

// run serves until SIGTERM or SIGINT. The pool is full before it listens.
func run(socket string, workers int) error {
	runtime.GOMAXPROCS(workers)
	debug.SetGCPercent(gcPercent)
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	store, err := openStore(stop, os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	defer store.close()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           routes(store),
		ReadHeaderTimeout: 5 * time.Second,
		// nginx closes connections that are idle for 60 s. The side that reuses them must be the one that closes them.
		IdleTimeout: 75 * time.Second,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-stop.Done():
	}
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := server.Shutdown(drain); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}
