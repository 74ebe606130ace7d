// etcd's concurrency.Mutex as a contender of lockbench: one session a node.
package main

import (
	"context"
	"encoding/hex"
	"errors"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"lockbench/clients/port"
)

// A mutex is keyed by the lease of its session, so goroutines of one session would hold it together: those of a node line up before it.
type lock struct {
	client  *clientv3.Client
	ttl     int
	turn    sync.Mutex
	session *concurrency.Session
	lines   map[string]chan struct{}
	lost    func(string)
}

type held struct {
	session *concurrency.Session
	mutex   *concurrency.Mutex
	line    chan struct{}
}

// open is the session; another one where that has ended.
func (l *lock) open() (*concurrency.Session, error) {
	l.turn.Lock()
	defer l.turn.Unlock()
	if l.session != nil && !ended(l.session) {
		return l.session, nil
	}
	session, err := concurrency.NewSession(l.client, concurrency.WithTTL(l.ttl))
	if err != nil {
		return nil, err
	}
	l.session = session
	go func() {
		<-session.Done()
		l.lost("the session has ended")
	}()
	return session, nil
}

func ended(session *concurrency.Session) bool {
	select {
	case <-session.Done():
		return true
	default:
		return false
	}
}

func (l *lock) line(key string) chan struct{} {
	l.turn.Lock()
	defer l.turn.Unlock()
	line, has := l.lines[key]
	if !has {
		line = make(chan struct{}, 1)
		l.lines[key] = line
	}
	return line
}

func (l *lock) Acquire(ctx context.Context, key string, wait bool) (*port.Granted, error) {
	line := l.line(key)
	if wait {
		select {
		case line <- struct{}{}:
		case <-ctx.Done():
			return nil, nil
		}
	} else {
		select {
		case line <- struct{}{}:
		default:
			return nil, nil
		}
	}
	session, err := l.open()
	if err != nil {
		<-line
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
		return &port.Granted{Held: &held{session, mutex, line}, Token: &token}, nil
	}
	<-line
	// The library has deleted its key by then.
	if errors.Is(err, concurrency.ErrLocked) || errors.Is(err, context.DeadlineExceeded) {
		return nil, nil
	}
	return nil, err
}

func (l *lock) Release(ctx context.Context, given any) (bool, error) {
	held := given.(*held)
	// It deletes its key and does not look whether that was there; the session tells whether it can have been.
	if ended(held.session) {
		free(held.line)
		return false, nil
	}
	err := held.mutex.Unlock(ctx)
	if err == nil {
		free(held.line)
	}
	return err == nil, err
}

func free(line chan struct{}) {
	select {
	case <-line:
	default:
	}
}

func (l *lock) Close() {
	l.turn.Lock()
	defer l.turn.Unlock()
	l.session.Close()
	l.client.Close()
}

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
	// Whole seconds are all that a lease can be asked for.
	lock := &lock{client: client, ttl: max(1, (ttlMs+999)/1000), lines: map[string]chan struct{}{}}
	port := port.New(lock)
	lock.lost = port.Lost
	if _, err := lock.open(); err != nil {
		log.Fatal(err)
	}
	promises := map[string]bool{"waits": true, "lease": true, "token": true, "fair": true, "reports_loss": true}
	port.Serve(promises, "etcd client/v3 3.7.3")
}
