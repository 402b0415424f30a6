// A TLS server that tells what clients sent to it: one JSON line on stdout for every handshake,
// whether it succeeded or not, and for every request. The best witness there is for chains: it
// sees every certificate as it came.
package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

type handshake struct {
	Event    string   `json:"event"`
	Complete bool     `json:"complete"`
	Error    string   `json:"error"`
	TLS      string   `json:"tls"`
	Resumed  bool     `json:"resumed"`
	Name     string   `json:"name"`
	Chain    []string `json:"chain"`
	Subject  string   `json:"subject"`
}

type request struct {
	Event   string   `json:"event"`
	TLS     string   `json:"tls"`
	Proto   string   `json:"proto"`
	Resumed bool     `json:"resumed"`
	Chain   []string `json:"chain"`
	Subject string   `json:"subject"`
	Method  string   `json:"method"`
	Host    string   `json:"host"`
	Path    string   `json:"path"`
	Body    body     `json:"body"`
}

// What arrived of the body of a request.
type body struct {
	Length   int64  `json:"length"`
	SHA256   string `json:"sha256"`
	Complete bool   `json:"complete"`
	// -1: not announced
	Announced int64 `json:"announced"`
}

var (
	output sync.Mutex
	// Connections that are not written down yet. No WaitGroup: one may begin while another is waited for
	unfinished atomic.Int64
)

func say(event interface{}) {
	output.Lock()
	defer output.Unlock()
	json.NewEncoder(os.Stdout).Encode(event)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func version(number uint16) string {
	return map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"}[number]
}

func fingerprints(chain [][]byte) []string {
	all := []string{}
	for _, der := range chain {
		sum := sha256.Sum256(der)
		all = append(all, hex.EncodeToString(sum[:]))
	}
	return all
}

func raw(chain []*x509.Certificate) [][]byte {
	all := [][]byte{}
	for _, certificate := range chain {
		all = append(all, certificate.Raw)
	}
	return all
}

func subject(chain [][]byte) string {
	if len(chain) == 0 {
		return ""
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return err.Error()
	}
	return leaf.Subject.String()
}

func pool(file string) *x509.CertPool {
	pool := x509.NewCertPool()
	text, err := os.ReadFile(file)
	check(err)
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		check(err)
		pool.AddCert(certificate)
	}
	return pool
}

func verify(chain [][]byte, roots *x509.CertPool) error {
	if len(chain) == 0 {
		return nil
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return err
	}
	between := x509.NewCertPool()
	for _, der := range chain[1:] {
		if certificate, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(certificate)
		}
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: between,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}

// The listener of connections whose handshake is done, for http.Server to serve.
type ready struct {
	connections chan net.Conn
	address     net.Addr
}

func (r ready) Accept() (net.Conn, error) {
	connection, open := <-r.connections
	if !open {
		return nil, errors.New("closed")
	}
	return connection, nil
}
func (r ready) Close() error   { return nil }
func (r ready) Addr() net.Addr { return r.address }

// A connection of which the first byte was read already.
type peeked struct {
	net.Conn
	first io.Reader
}

func (p peeked) Read(into []byte) (int, error) { return p.first.Read(into) }

func greet(connection net.Conn, base *tls.Config, roots *x509.CertPool, done chan net.Conn) {
	defer unfinished.Add(-1)
	said := handshake{Event: "handshake", Chain: []string{}}
	config := base.Clone()
	config.VerifyPeerCertificate = func(chain [][]byte, _ [][]*x509.Certificate) error {
		// Written down before it is judged: a refused certificate was sent too
		said.Chain, said.Subject = fingerprints(chain), subject(chain)
		if roots == nil {
			return nil
		}
		return verify(chain, roots)
	}
	secured := tls.Server(connection, config)
	err := secured.Handshake()
	state := secured.ConnectionState()
	said.Complete, said.TLS = err == nil, version(state.Version)
	said.Resumed, said.Name = state.DidResume, state.ServerName
	if err != nil {
		said.Error = err.Error()
	} else if said.Resumed {
		said.Chain, said.Subject = fingerprints(raw(state.PeerCertificates)), subject(raw(state.PeerCertificates))
	}
	say(said)
	if err != nil {
		connection.Close()
		return
	}
	done <- secured
}

// A connection that starts with 'B' is no TLS: the test asks for everything before it to be
// written down. It is answered by a line of its own, then closed.
func barrier(connection net.Conn) {
	line := make([]byte, 32)
	n, _ := connection.Read(line)
	for began := time.Now(); unfinished.Load() != 0 && time.Since(began) < 3*time.Second; {
		time.Sleep(time.Millisecond)
	}
	say(map[string]string{"event": "barrier", "mark": string(line[:n])})
	connection.Close()
}

func receive(connection net.Conn, base *tls.Config, roots *x509.CertPool, done chan net.Conn) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(connection, first); err != nil {
		unfinished.Add(-1)
		connection.Close()
		return
	}
	if first[0] == 'B' {
		unfinished.Add(-1)
		barrier(connection)
		return
	}
	whole := peeked{connection, io.MultiReader(&oneByte{first}, connection)}
	greet(whole, base, roots, done)
}

type oneByte struct{ left []byte }

func (o *oneByte) Read(into []byte) (int, error) {
	if len(o.left) == 0 {
		return 0, io.EOF
	}
	n := copy(into, o.left)
	o.left = o.left[n:]
	return n, nil
}

// Reads a body. In the middle of it, under /pause, it says so, and waits until there is a file of the name in ?until=.
func receiveBody(r *http.Request) body {
	sum := sha256.New()
	var begun int64
	if until := r.URL.Query().Get("until"); r.URL.Path == "/pause" {
		begun, _ = io.CopyN(sum, r.Body, 1<<20)
		say(map[string]string{"event": "paused " + until})
		for _, err := os.Stat(until); err != nil; _, err = os.Stat(until) {
			time.Sleep(time.Millisecond)
		}
	}
	rest, err := io.Copy(sum, r.Body)
	return body{begun + rest, hex.EncodeToString(sum.Sum(nil)), err == nil, r.ContentLength}
}

func answer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/early" {
		http.Error(w, "too much", http.StatusRequestEntityTooLarge)
		return
	}
	received := receiveBody(r)
	chain := raw(r.TLS.PeerCertificates)
	said := request{
		Event: "request", TLS: version(r.TLS.Version), Proto: r.Proto, Resumed: r.TLS.DidResume,
		Chain: fingerprints(chain), Subject: subject(chain),
		Method: r.Method, Host: r.Host, Path: r.URL.RequestURI(), Body: received,
	}
	say(said)
	if to := r.URL.Query().Get("to"); r.URL.Path == "/redirect" {
		status := http.StatusFound
		if r.URL.Query().Get("keep") != "" {
			status = http.StatusTemporaryRedirect
		}
		http.Redirect(w, r, to, status)
		return
	}
	if r.URL.Path == "/forbidden" {
		http.Error(w, "not you", http.StatusForbidden)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(said)
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	certificate := flag.String("cert", "", "server certificate with its chain")
	key := flag.String("key", "", "key of the server")
	protocol := flag.String("tls", "", "the one version spoken: 1.2 or 1.3; empty: both")
	ask := flag.String("ask", "require", "require, optional, unchecked or never")
	authorities := flag.String("authorities", "", "CA certificates that clients are checked against")
	hints := flag.Bool("hints", true, "name the authorities in the certificate request")
	http1 := flag.Bool("http1", false, "no HTTP/2")
	flag.Parse()

	pair, err := tls.LoadX509KeyPair(*certificate, *key)
	check(err)
	base := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	if *http1 {
		base.NextProtos = []string{"http/1.1"}
	}
	base.MinVersion, base.MaxVersion = tls.VersionTLS12, tls.VersionTLS13
	if *protocol == "1.2" {
		base.MaxVersion = tls.VersionTLS12
	} else if *protocol == "1.3" {
		base.MinVersion = tls.VersionTLS13
	}
	var roots *x509.CertPool
	if *authorities != "" {
		roots = pool(*authorities)
		if *hints {
			base.ClientCAs = roots
		}
	}
	switch *ask {
	case "require":
		base.ClientAuth = tls.RequireAnyClientCert
	case "optional":
		base.ClientAuth = tls.RequestClientCert
	case "unchecked":
		base.ClientAuth, roots = tls.RequestClientCert, nil
	case "never":
		base.ClientAuth = tls.NoClientCert
	default:
		log.Fatal("-ask: ", *ask)
	}
	// One key for every connection's copy of the configuration, so that sessions resume
	var ticket [32]byte
	rand.Read(ticket[:])
	base.SetSessionTicketKeys([][32]byte{ticket})

	listener, err := net.Listen("tcp", *listen)
	check(err)
	done := make(chan net.Conn)
	server := &http.Server{Handler: http.HandlerFunc(answer), ErrorLog: log.New(io.Discard, "", 0)}
	go server.Serve(ready{done, listener.Addr()})
	say(map[string]interface{}{"event": "listening", "port": listener.Addr().(*net.TCPAddr).Port})
	for {
		connection, err := listener.Accept()
		check(err)
		unfinished.Add(1)
		go receive(connection, base, roots, done)
	}
}
