// A key-value client of Prism Edge: typed calls, errors, deadlines, retries, and a watch that is opened again.
//
// In this folder, with protoc on the PATH (`apt install protobuf-compiler`):
//
//	go generate
//	go run .          # shows everything once
//	go run . -help    # lists the commands
package main

//go:generate sh generate.sh

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc/status"

	"prism-example/gen/kv"
)

func main() {
	address := flag.String("address", "127.0.0.1:50051", "of the proxy")
	namespace := flag.String("namespace", "demo", "whose keys")
	timeout := flag.Duration("timeout", 5*time.Second, "how long a call may take")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "Usage: [flags] [tour | set KEY VALUE | get KEY | watch PREFIX]")
		flag.PrintDefaults()
	}
	flag.Parse()

	client, err := Dial(*address, *namespace, *timeout)
	if err == nil {
		defer client.Close()
		err = run(context.Background(), client, flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, Explain(err))
		os.Exit(1)
	}
}

func run(ctx context.Context, client *Client, arguments []string) error {
	command := "tour"
	if len(arguments) > 0 {
		command, arguments = arguments[0], arguments[1:]
	}
	switch {
	case command == "tour" && len(arguments) == 0:
		return tour(ctx, client)
	case command == "set" && len(arguments) == 2:
		applied, err := client.Set(ctx, arguments[0], []byte(arguments[1]))
		if err != nil {
			return err
		}
		fmt.Println(outcome(applied))
		return nil
	case command == "get" && len(arguments) == 1:
		value, found, err := client.Get(ctx, arguments[0])
		if err != nil {
			return err
		}
		if !found {
			return errors.New(text(value, found))
		}
		fmt.Println(text(value, found))
		return nil
	case command == "watch" && len(arguments) == 1:
		return client.Follow(ctx, arguments[0], show)
	}
	flag.Usage()
	os.Exit(2)
	return nil
}

func outcome(applied bool) string {
	if applied {
		return "applied"
	}
	return "not applied"
}

func text(value []byte, found bool) string {
	if found {
		return string(value)
	}
	return "no such key"
}

func show(event *kv.WatchEvent) {
	fmt.Println(event.Kind, event.Key, string(event.Value))
}

// tour shows everything once.
func tour(ctx context.Context, client *Client) error {
	applied, err := client.Set(ctx, "tour/greeting", []byte("hello"))
	if err != nil {
		return err
	}
	fmt.Println("set:", outcome(applied))
	value, found, err := client.Get(ctx, "tour/greeting")
	if err != nil {
		return err
	}
	fmt.Println("get:", text(value, found))
	value, found, err = client.Get(ctx, "tour/absent")
	if err != nil {
		return err
	}
	fmt.Println("get an absent key:", text(value, found))

	// A watch in the background sees what the foreground does.
	watching, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	events, err := client.Watch(watching, "tour/")
	if err != nil {
		return err
	}
	seen := make(chan error, 1)
	go func() {
		for range 2 {
			event, err := events.Recv()
			if err != nil {
				seen <- err
				return
			}
			show(event)
		}
		seen <- nil
	}()
	if _, err := client.Set(ctx, "tour/greeting", []byte("hello again")); err != nil {
		return err
	}
	if _, err := client.Delete(ctx, "tour/greeting"); err != nil {
		return err
	}
	if err := <-seen; err != nil {
		return err
	}

	if _, err := client.Set(ctx, "", []byte("no key")); err != nil {
		fmt.Println("error:", Explain(err))
	}

	short, done := context.WithTimeout(ctx, 500*time.Millisecond)
	defer done()
	events, err = client.Watch(short, "tour/")
	for err == nil {
		var event *kv.WatchEvent
		if event, err = events.Recv(); err == nil {
			show(event)
		}
	}
	fmt.Println("deadline:", status.Code(err))
	return nil
}
