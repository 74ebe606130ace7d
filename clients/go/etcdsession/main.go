// etcd's concurrency.Mutex as a contender of lockbench: a session, and so a lease, for each holder and waiter.
package main

import (
	"context"
	"encoding/hex"
	"errors"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"lockbench/clients/port"
)

type lock struct {
	client *clientv3.Client
	ttl    int
}

type held struct {
	session *concurrency.Session
	mutex   *concurrency.Mutex
}

func (l *lock) Acquire(ctx context.Context, key string, wait bool) (*port.Granted, error) {
	session, err := concurrency.NewSession(l.client, concurrency.WithTTL(l.ttl))
	if err != nil {
		return nil, err
	}
	// Any text is a name: a slash would make one key another's folder.
	mutex := concurrency.NewMutex(session, "lockbench/"+hex.EncodeToString([]byte(key)))
	if wait {
		err = mutex.Lock(ctx)
	} else {
		err = mutex.TryLock(ctx)
	}
	if err == nil {
		token := uint64(mutex.Header().Revision)
		return &port.Granted{Held: &held{session, mutex}, Token: &token}, nil
	}
	// Its key goes with its lease.
	if closing := session.Close(); closing != nil {
		return nil, closing
	}
	if errors.Is(err, concurrency.ErrLocked) || errors.Is(err, context.DeadlineExceeded) {
		return nil, nil
	}
	return nil, err
}

func (l *lock) Release(ctx context.Context, given any) (bool, error) {
	held := given.(*held)
	select {
	case <-held.session.Done():
		return false, nil
	default:
	}
	if err := held.mutex.Unlock(ctx); err != nil {
		return false, err
	}
	// Free it is already; a lease that cannot be given back now ends by itself.
	if err := held.session.Close(); err != nil {
		log.Print(err)
	}
	return true, nil
}

func (l *lock) Close() { l.client.Close() }

func main() {
	ttlMs, err := strconv.Atoi(os.Getenv("LOCKBENCH_TTL_MS"))
	if err != nil {
		log.Fatal(err)
	}
	members := strings.TrimPrefix(os.Getenv("LOCKBENCH_ENDPOINT"), "etcd://")
	client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(members, ","), DialTimeout: 5 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := client.Get(ctx, "lockbench/"); err != nil {
		log.Fatal(err)
	}
	// Whole seconds are all that a lease can be asked for.
	lock := &lock{client: client, ttl: max(1, (ttlMs+999)/1000)}
	promises := map[string]bool{"waits": true, "lease": true, "token": true, "fair": true}
	port.New(lock).Serve(promises, "etcd client/v3 3.7.3")
}
