// A lock on Redis that speaks the port of lockbench, version 1.
package main

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	poll      = 20 * time.Millisecond
	deleteOwn = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
)

// Redis is one connection, one request at a time. Put your library in its place.
type Redis struct {
	endpoint *url.URL
	turn     sync.Mutex
	link     net.Conn
	from     *bufio.Reader
	requests uint64
}

func (r *Redis) ask(words ...string) (string, error) {
	r.turn.Lock()
	defer r.turn.Unlock()
	if r.link == nil {
		link, err := net.DialTimeout("tcp", r.endpoint.Host, 2*time.Second)
		if err != nil {
			return "", err
		}
		r.link, r.from = link, bufio.NewReader(link)
		if password, has := r.endpoint.User.Password(); has {
			login := []string{"AUTH"}
			if user := r.endpoint.User.Username(); user != "" {
				login = append(login, user)
			}
			if _, err := r.send(append(login, password)); err != nil {
				return "", err
			}
		}
	}
	r.requests++
	return r.send(words)
}

func (r *Redis) send(words []string) (string, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(&text, "$%d\r\n%s\r\n", len(word), word)
	}
	r.link.SetDeadline(time.Now().Add(2 * time.Second))
	answer, err := r.exchange(text.String())
	if err != nil && !strings.HasPrefix(err.Error(), "redis: ") {
		r.link.Close()
		r.link = nil
	}
	return answer, err
}

func (r *Redis) exchange(text string) (string, error) {
	if _, err := io.WriteString(r.link, text); err != nil {
		return "", err
	}
	line, err := r.from.ReadString('\n')
	if err != nil {
		return "", err
	}
	kind, rest := line[0], strings.TrimSpace(line[1:])
	if kind == '-' {
		return "", errors.New("redis: " + rest)
	}
	if kind != '$' || rest == "-1" {
		return rest, nil
	}
	length, err := strconv.Atoi(rest)
	if err != nil {
		return "", err
	}
	value := make([]byte, length+2)
	_, err = io.ReadFull(r.from, value)
	return string(value[:length]), err
}

type told struct {
	Type     string   `json:"type"`
	ID       uint64   `json:"id"`
	Keys     []string `json:"keys"`
	WithinMs int64    `json:"within_ms"`
}

type message map[string]any

type hold struct{ key, owner string }

// Client is all that is held, or may be, and the way to say so.
type Client struct {
	redis *Redis
	ttl   time.Duration
	mutex sync.Mutex
	held  map[uint64]hold
	out   sync.Mutex
}

func (c *Client) say(message message) {
	line, err := json.Marshal(message)
	if err != nil {
		log.Fatal(err)
	}
	c.out.Lock()
	defer c.out.Unlock()
	os.Stdout.Write(append(line, '\n'))
}

func (c *Client) take(told told) {
	deadline := time.Now().Add(time.Duration(told.WithinMs) * time.Millisecond)
	random := make([]byte, 16)
	rand.Read(random)
	hold := hold{told.Keys[0], hex.EncodeToString(random)}
	c.mutex.Lock()
	c.held[told.ID] = hold
	c.mutex.Unlock()
	for {
		asked := time.Now()
		answer, err := c.redis.ask("SET", hold.key, hold.owner, "NX", "PX", strconv.FormatInt(c.ttl.Milliseconds(), 10))
		if err != nil {
			// It may have been taken all the same: `release` will be asked for.
			c.say(message{"type": "unknown", "id": told.ID, "why": err.Error()})
			return
		}
		if answer == "OK" {
			// Counted from before it was asked for.
			valid := c.ttl - c.ttl/100 - time.Since(asked)
			c.say(message{"type": "granted", "id": told.ID, "valid_ms": max(0, valid.Milliseconds())})
			return
		}
		left := time.Until(deadline)
		if left <= 0 {
			c.forget(told.ID)
			c.say(message{"type": "timed-out", "id": told.ID})
			return
		}
		time.Sleep(min(poll, left))
	}
}

func (c *Client) giveBack(id uint64) {
	c.mutex.Lock()
	hold := c.held[id]
	c.mutex.Unlock()
	answer, err := c.redis.ask("EVAL", deleteOwn, "1", hold.key, hold.owner)
	if err != nil {
		c.say(message{"type": "unknown", "id": id, "why": err.Error()})
		return
	}
	c.forget(id)
	if answer == "1" {
		c.say(message{"type": "released", "id": id})
	} else {
		c.say(message{"type": "already-lost", "id": id})
	}
}

func (c *Client) forget(id uint64) {
	c.mutex.Lock()
	delete(c.held, id)
	c.mutex.Unlock()
}

func main() {
	endpoint, err := url.Parse(os.Getenv("LOCKBENCH_ENDPOINT"))
	if err != nil {
		log.Fatal(err)
	}
	ttlMs, err := strconv.Atoi(os.Getenv("LOCKBENCH_TTL_MS"))
	if err != nil {
		log.Fatal(err)
	}
	redis := &Redis{endpoint: endpoint}
	if _, err := redis.ask("PING"); err != nil {
		log.Fatal(err)
	}
	client := &Client{redis: redis, ttl: time.Duration(ttlMs) * time.Millisecond, held: map[uint64]hold{}}
	promises := message{"waits": true, "lease": true, "counts": true}
	client.say(message{"type": "hello", "version": 1, "capabilities": promises, "library": "SET NX PX in Go"})
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var told told
		if err := json.Unmarshal(lines.Bytes(), &told); err != nil {
			log.Fatal(err)
		}
		switch told.Type {
		case "acquire":
			go client.take(told)
		case "release":
			go client.giveBack(told.ID)
		case "counts":
			redis.turn.Lock()
			requests := redis.requests
			redis.turn.Unlock()
			client.say(message{"type": "counts", "requests": requests, "connections": 1})
		case "close":
			client.mutex.Lock()
			for _, hold := range client.held {
				redis.ask("EVAL", deleteOwn, "1", hold.key, hold.owner)
			}
			return
		}
	}
}
