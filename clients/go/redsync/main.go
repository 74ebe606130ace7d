// redsync as a contender of lockbench.
package main

import (
	"context"
	"errors"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"

	"lockbench/clients/port"
)

type lock struct {
	client *redis.Client
	sync   *redsync.Redsync
	ttl    time.Duration
}

func (l *lock) Acquire(ctx context.Context, key string, wait bool) (*port.Granted, error) {
	// As often as it takes: its own 32 tries would give up before the deadline.
	mutex := l.sync.NewMutex(key, redsync.WithExpiry(l.ttl), redsync.WithTries(1<<30))
	var err error
	if wait {
		err = mutex.LockContext(ctx)
	} else {
		err = mutex.TryLockContext(ctx)
	}
	var taken *redsync.ErrTaken
	switch {
	case err == nil:
		valid := time.Until(mutex.Until())
		return &port.Granted{Held: mutex, Valid: &valid}, nil
	case errors.As(err, &taken), errors.Is(err, redsync.ErrFailed):
		return nil, nil
	case errors.Is(err, context.DeadlineExceeded):
		// A request may be under way: what it may have taken is given back, or ends by itself.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := mutex.UnlockContext(ctx); err == nil || isExpired(err) {
			return nil, nil
		}
		return nil, err
	default:
		return nil, err
	}
}

func isExpired(err error) bool {
	var taken *redsync.ErrTaken
	return errors.Is(err, redsync.ErrLockAlreadyExpired) || errors.As(err, &taken)
}

func (l *lock) Release(ctx context.Context, held any) (bool, error) {
	released, err := held.(*redsync.Mutex).UnlockContext(ctx)
	if err != nil && isExpired(err) {
		return false, nil
	}
	return released, err
}

func (l *lock) Close() { l.client.Close() }

func main() {
	options, err := redis.ParseURL(os.Getenv("LOCKBENCH_ENDPOINT"))
	if err != nil {
		log.Fatal(err)
	}
	ttlMs, err := strconv.Atoi(os.Getenv("LOCKBENCH_TTL_MS"))
	if err != nil {
		log.Fatal(err)
	}
	client := redis.NewClient(options)
	if err := client.Ping(context.Background()).Err(); err != nil {
		log.Fatal(err)
	}
	ttl := time.Duration(ttlMs) * time.Millisecond
	lock := &lock{client, redsync.New(goredis.NewPool(client)), ttl}
	port.New(lock).Serve(map[string]bool{"waits": true, "lease": true}, "redsync 4.18.1")
}
