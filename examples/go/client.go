package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"prism-example/gen/kv"
)

// Reads are made again when what serves them is away for a moment. Set is not in the list: of a call that got no answer
// nobody knows whether it was carried out, and its condition would fail the second time. All pauses together stay below a call's
// time, or its caller would hear of the deadline and not of what is wrong.
const serviceConfig = `{
  "methodConfig": [{
    "name": [
      {"service": "prism.kv.v1.KeyValueService", "method": "Get"},
      {"service": "prism.kv.v1.KeyValueService", "method": "Exists"},
      {"service": "prism.kv.v1.KeyValueService", "method": "MultiGet"},
      {"service": "prism.kv.v1.KeyValueService", "method": "Scan"},
      {"service": "prism.kv.v1.KeyValueService", "method": "Watch"}
    ],
    "retryPolicy": {
      "maxAttempts": 4,
      "initialBackoff": "0.5s",
      "maxBackoff": "2s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }]
}`

const (
	// A stream without a deadline waits for good when its server vanishes without a word. This long, then a new one.
	watchTime = 10 * time.Minute
	// Between two tries to open a watch again.
	watchPause = time.Second
)

// Client has the keys of one namespace.
type Client struct {
	channel   *grpc.ClientConn
	stub      kv.KeyValueServiceClient
	namespace string
	// How long a call may take, all of its attempts together.
	timeout time.Duration
}

// Dial connects with the first call, and again whenever the connection was lost.
func Dial(address, namespace string, timeout time.Duration) (*Client, error) {
	channel, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig))
	if err != nil {
		return nil, err
	}
	return &Client{channel, kv.NewKeyValueServiceClient(channel), namespace, timeout}, nil
}

// Close ends what is under way.
func (c *Client) Close() error {
	return c.channel.Close()
}

// where says where a call goes.
func (c *Client) where(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "x-prism-namespace", c.namespace)
}

// Set stores a value.
func (c *Client) Set(ctx context.Context, key string, value []byte) (applied bool, err error) {
	ctx, done := context.WithTimeout(c.where(ctx), c.timeout)
	defer done()
	answer, err := c.stub.Set(ctx, &kv.SetRequest{Key: key, Value: value})
	return answer.GetApplied(), err
}

// Get finds a value. An absent key is no error.
func (c *Client) Get(ctx context.Context, key string) (value []byte, found bool, err error) {
	ctx, done := context.WithTimeout(c.where(ctx), c.timeout)
	defer done()
	answer, err := c.stub.Get(ctx, &kv.GetRequest{Key: key})
	return answer.GetValue(), answer.GetFound(), err
}

// Delete removes keys and counts those that were there.
func (c *Client) Delete(ctx context.Context, keys ...string) (deleted int64, err error) {
	ctx, done := context.WithTimeout(c.where(ctx), c.timeout)
	defer done()
	answer, err := c.stub.Delete(ctx, &kv.DeleteRequest{Keys: keys})
	return answer.GetDeleted(), err
}

// Watch tells what happens to keys with this prefix from when it returns on, until the context is done.
func (c *Client) Watch(ctx context.Context, prefix string) (grpc.ServerStreamingClient[kv.WatchEvent], error) {
	events, err := c.stub.Watch(c.where(ctx), &kv.WatchRequest{Prefix: prefix})
	if err != nil {
		return nil, err
	}
	// It is open when its headers are here.
	if _, err := events.Header(); err != nil {
		return nil, err
	}
	return events, nil
}

// Follow does the same for good. What happens between two streams is not reported: read again what must not be missed.
func (c *Client) Follow(ctx context.Context, prefix string, onEvent func(*kv.WatchEvent)) error {
	for {
		err := c.followOnce(ctx, prefix, onEvent)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF):
		// The proxy or the plugin is replaced or away (RELOADED, DRAINING, PLUGIN_UNAVAILABLE), or the stream's time is
		// over. Anything else would be the same again.
		case status.Code(err) == codes.Unavailable, status.Code(err) == codes.DeadlineExceeded:
			fmt.Fprintln(os.Stderr, "watch ended, opening it again:", Explain(err))
		default:
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(watchPause):
		}
	}
}

func (c *Client) followOnce(ctx context.Context, prefix string, onEvent func(*kv.WatchEvent)) error {
	ctx, done := context.WithTimeout(ctx, watchTime)
	defer done()
	events, err := c.Watch(ctx, prefix)
	for err == nil {
		var event *kv.WatchEvent
		if event, err = events.Recv(); err == nil {
			onEvent(event)
		}
	}
	return err
}

// Explain gives the code and the message, and what the details say of where it went wrong and when to call again.
func Explain(err error) string {
	failed, ok := status.FromError(err)
	if !ok {
		return err.Error()
	}
	// They come in any order.
	var info *errdetails.ErrorInfo
	var retry *errdetails.RetryInfo
	for _, detail := range failed.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			info = detail
		case *errdetails.RetryInfo:
			retry = detail
		}
	}
	text := fmt.Sprintf("%s: %s", failed.Code(), failed.Message())
	if info != nil {
		places := []string{info.Reason}
		for _, name := range []string{"plugin", "namespace"} {
			if value, ok := info.Metadata[name]; ok {
				places = append(places, name+" "+value)
			}
		}
		text += fmt.Sprintf(" (%s)", strings.Join(places, ", "))
	}
	if retry.GetRetryDelay() != nil {
		text += fmt.Sprintf(", may be called again after %s", retry.RetryDelay.AsDuration())
	}
	return text
}
