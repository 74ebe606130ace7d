// Package port speaks the port of lockbench, version 1, around a library: a goroutine for each request.
package port

import (
	"bufio"
	"context"
	"encoding/json"
	"log"
	"os"
	"sync"
	"time"
)

// Granted is what Lock's Acquire was granted; Held is handed back to Release.
type Granted struct {
	Held any
	// Token is the fencing token, where there is one.
	Token *uint64
	// Valid is how much longer it is certain to be held; nil where the library renews it.
	Valid *time.Duration
}

// Lock is a library.
type Lock interface {
	// Acquire takes the key, until the context ends; nil: the time is over, and nothing can follow. A context that has ended already: without
	// waiting. After an error the outcome is unknown.
	Acquire(ctx context.Context, key string, wait bool) (*Granted, error)
	// Release tells whether it was held until then. After an error the outcome is unknown.
	Release(ctx context.Context, held any) (bool, error)
	// Close gives back what the session holds.
	Close()
}

type told struct {
	Type     string   `json:"type"`
	ID       uint64   `json:"id"`
	Keys     []string `json:"keys"`
	WithinMs int64    `json:"within_ms"`
}

// Port is the conversation.
type Port struct {
	lock Lock
	turn sync.Mutex
	held map[uint64]any
	out  sync.Mutex
}

// New is a port in front of a library.
func New(lock Lock) *Port {
	return &Port{lock: lock, held: map[uint64]any{}}
}

func (p *Port) say(message map[string]any) {
	line, err := json.Marshal(message)
	if err != nil {
		log.Fatal(err)
	}
	p.out.Lock()
	defer p.out.Unlock()
	os.Stdout.Write(append(line, '\n'))
}

// Lost says that all that is held has ended.
func (p *Port) Lost(why string) {
	p.say(map[string]any{"type": "lost", "why": why})
}

// releases may take so long.
const releases = 10 * time.Second

func (p *Port) acquire(told told) {
	within := time.Duration(told.WithinMs) * time.Millisecond
	wait := within > 0
	if !wait {
		within = time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	granted, err := p.lock.Acquire(ctx, told.Keys[0], wait)
	if err != nil {
		log.Print(err)
		p.say(map[string]any{"type": "unknown", "id": told.ID, "why": err.Error()})
		return
	}
	if granted == nil {
		p.say(map[string]any{"type": "timed-out", "id": told.ID})
		return
	}
	p.turn.Lock()
	p.held[told.ID] = granted.Held
	p.turn.Unlock()
	message := map[string]any{"type": "granted", "id": told.ID}
	if granted.Token != nil {
		message["token"] = *granted.Token
	}
	if granted.Valid != nil {
		message["valid_ms"] = max(0, granted.Valid.Milliseconds())
	}
	p.say(message)
}

func (p *Port) release(id uint64) {
	p.turn.Lock()
	held, has := p.held[id]
	p.turn.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), releases)
	defer cancel()
	released := false
	if has {
		var err error
		// After unknown there is nothing to give back by: what may stand ends with its lease.
		if released, err = p.lock.Release(ctx, held); err != nil {
			log.Print(err)
			p.say(map[string]any{"type": "unknown", "id": id, "why": err.Error()})
			return
		}
	}
	p.turn.Lock()
	delete(p.held, id)
	p.turn.Unlock()
	answer := "already-lost"
	if released {
		answer = "released"
	}
	p.say(map[string]any{"type": answer, "id": id})
}

// Serve speaks until it is told to close.
func (p *Port) Serve(promises map[string]bool, library string) {
	p.say(map[string]any{"type": "hello", "version": 1, "capabilities": promises, "library": library})
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var told told
		if err := json.Unmarshal(lines.Bytes(), &told); err != nil {
			log.Fatal(err)
		}
		switch told.Type {
		case "acquire":
			go p.acquire(told)
		case "release":
			go p.release(told.ID)
		case "close":
			p.close()
			return
		}
	}
}

func (p *Port) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	p.turn.Lock()
	defer p.turn.Unlock()
	for _, held := range p.held {
		p.lock.Release(ctx, held)
	}
	p.lock.Close()
}
