package tlssock

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/renameio/v2"
)

// Files are where a certificate stands: PEM, the chain in one, its key in the other.
type Files struct{ Certificate, Key string }

// OwnFiles are those of a certificate of the server's own making, in its state folder.
func OwnFiles(folder string) Files {
	return Files{filepath.Join(folder, "server.crt"), filepath.Join(folder, "server.key")}
}

// Keeper holds the certificate of a server. It may be used by any number of goroutines.
type Keeper struct {
	files  Files
	failed func(error)

	mu      sync.Mutex
	current *tls.Certificate
	seen    [2]fileState // of what was loaded last, or failed to
	looked  time.Time
}

// fileState is what changes when a file is replaced or written.
type fileState struct {
	inode   uint64
	size    int64
	changed time.Time
}

// lookInterval is how often the files are looked at, at most: the handshakes between two looks are made with
// what is there.
const lookInterval = time.Second

// Keep loads the certificate of files. From then on it takes up what replaces them; failed is told of
// replacements that cannot be used, each once, while the certificate before stays.
func Keep(files Files, failed func(error)) (*Keeper, error) {
	k := &Keeper{files: files, failed: failed, looked: time.Now()}
	k.seen = k.look()
	var err error
	if k.current, err = load(files); err != nil {
		return nil, err
	}
	return k, nil
}

// Get is the certificate to show; it fits tls.Config.GetCertificate.
func (k *Keeper) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.looked) < lookInterval {
		return k.current, nil
	}
	k.looked = time.Now()
	if now := k.look(); now != k.seen {
		k.seen = now
		if fresh, err := load(k.files); err == nil {
			k.current = fresh
		} else {
			k.failed(err)
		}
	}
	return k.current, nil
}

// Leaf is the certificate that is shown now, without those of its issuers.
func (k *Keeper) Leaf() *x509.Certificate {
	c, _ := k.Get(nil)
	return c.Leaf
}

func (k *Keeper) look() (states [2]fileState) {
	for i, path := range []string{k.files.Certificate, k.files.Key} {
		if info, err := os.Stat(path); err == nil {
			states[i] = fileState{inodeOf(info), info.Size(), info.ModTime()}
		}
	}
	return states
}

// load reads a certificate and its key, which others must not be able to read or write.
func load(files Files) (*tls.Certificate, error) {
	info, err := os.Stat(files.Key)
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o027 != 0 {
		return nil, fmt.Errorf("server certificate: %s: mode %#o, but its group must not write and others must not read it", files.Key, mode)
	}
	c, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	if err != nil {
		return nil, fmt.Errorf("server certificate: %s with %s: %w", files.Certificate, files.Key, err)
	}
	if now := time.Now(); now.After(c.Leaf.NotAfter) {
		return nil, fmt.Errorf("server certificate: %s: ended at %s", files.Certificate, c.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return &c, nil
}

// lifetime is how long a certificate of our own making is good for, renewBefore how long before its end a new
// one is made for the same key. Clients pin the key, so that neither matters to them.
const (
	lifetime    = 10 * 365 * 24 * time.Hour
	renewBefore = 365 * 24 * time.Hour
)

// Make sees to it that a folder has a certificate of our own making for a node: it makes the key
// (P-256, which every client knows) where there is none, and the certificate where there is none or where
// it nears its end. What else stands in its files is an error and stays as it is.
func Make(folder, node string) (Files, error) {
	files := OwnFiles(folder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return files, fmt.Errorf("server certificate: %w", err)
	}
	key, err := ownKey(files.Key)
	if err != nil {
		return files, fmt.Errorf("server certificate: %w", err)
	}
	have, err := certificateIn(files.Certificate)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return files, fmt.Errorf("server certificate: %w", err)
	}
	if err == nil && time.Until(have.NotAfter) > renewBefore {
		_, err := load(files)
		return files, err
	}
	der, err := selfSigned(key, node, time.Now())
	if err != nil {
		return files, fmt.Errorf("server certificate: %w", err)
	}
	return files, writePEM(files.Certificate, "CERTIFICATE", der, 0o644)
}

// certificateIn reads the first certificate of a PEM file.
func certificateIn(path string) (*x509.Certificate, error) {
	der, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func readPEM(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM block", path)
	}
	return block.Bytes, nil
}

// ownKey reads the key that stands in a file, or makes one and puts it there.
func ownKey(path string) (*ecdsa.PrivateKey, error) {
	der, err := readPEM(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newKey(path)
	}
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: a key of type %T, not ECDSA", path, parsed)
	}
	return key, nil
}

func newKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writePEM(path, "PRIVATE KEY", der, 0o600)
}

// selfSigned is a certificate for a node, good for TLS servers only. Clients know the server by its key, so the
// names in it are for people.
func selfSigned(key *ecdsa.PrivateKey, node string, now time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	names := []string{"localhost"}
	if node != "" {
		names = append(names, node)
	}
	template := &x509.Certificate{
		SerialNumber:          serial.Add(serial, big.NewInt(1)),
		Subject:               pkix.Name{CommonName: names[len(names)-1], Organization: []string{"my_os_server"}},
		DNSNames:              names,
		NotBefore:             now.Add(-time.Hour), // for clients whose clocks are behind
		NotAfter:              now.Add(lifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	return x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
}

// writePEM puts a whole file in place or none, and has it on the disk when it returns.
func writePEM(path, kind string, der []byte, mode fs.FileMode) error {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	folder := filepath.Dir(path)
	if err := renameio.WriteFile(path, text, mode, renameio.WithTempDir(folder), renameio.WithStaticPermissions(mode)); err != nil {
		return fmt.Errorf("server certificate: %w", err)
	}
	return syncFolder(folder)
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
