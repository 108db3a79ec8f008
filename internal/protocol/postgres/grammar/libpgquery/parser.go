package libpgquery

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/wasilibs/wazero-helpers/allocator"
)

//go:embed libpg_query.wasm
var program []byte

// Parser parses texts. It is safe for concurrent use, with an instance for each text that is parsed at the same time.
type Parser struct {
	runtime wazero.Runtime
	code    wazero.CompiledModule

	mu   sync.Mutex
	idle []*instance
}

// Error is what the parser says of a text that is none of PostgreSQL's.
type Error struct {
	Message string
	// Position is the character at which it stands, from 1; 0 where it is at none.
	Position int
	// Function of the parser that says so.
	Function string
}

func (e *Error) Error() string { return e.Message }

// New compiles the parser to machine code, which takes seconds of computing, or takes that from a folder, where an earlier process of
// the same version on the same kind of processor left it. What is in the folder is run, outside any sandbox: it has to be as safe as
// the program itself. A folder in which others than this process's user may write is emptied, as is one that cannot be read. Where
// nothing can be kept, nothing is; with an empty name neither.
func New(folder string) (*Parser, error) {
	if folder != "" {
		if err := own(folder); err != nil {
			folder = ""
		}
	}
	if folder != "" {
		folder = ofThisProgram(folder)
	}
	p, err := compile(folder)
	if err != nil && folder != "" { // what is there cannot be read, as after a power cut, or nothing can be written
		if os.RemoveAll(folder) != nil {
			folder = ""
		}
		p, err = compile(folder)
	}
	if err != nil {
		p, err = compile("")
	}
	if err != nil {
		return nil, fmt.Errorf("compiling the parser: %w", err)
	}
	return p, nil
}

// own has the folder be this user's alone, with nothing in it that somebody else could have written.
func own(folder string) error {
	err := filepath.WalkDir(folder, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		at, ok := info.Sys().(*syscall.Stat_t)
		if !ok || int(at.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 || !info.IsDir() && !info.Mode().IsRegular() {
			return errOthers
		}
		return nil
	})
	if err == nil {
		return nil
	}
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	return os.MkdirAll(folder, 0o700)
}

// ofThisProgram gives the place within the folder for what this program and this compiler make, and removes what others have left there:
// nobody takes it any more.
func ofThisProgram(folder string) string {
	h := sha256.New()
	h.Write(program)
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, d := range b.Deps {
			if d.Path == "github.com/tetratelabs/wazero" {
				h.Write([]byte(d.Version))
			}
		}
	}
	name := hex.EncodeToString(h.Sum(nil)[:8])
	list, _ := os.ReadDir(folder) // one that is not there yet has nothing in it
	for _, e := range list {
		if e.Name() != name {
			_ = os.RemoveAll(filepath.Join(folder, e.Name())) // what stays takes room, and no more
		}
	}
	return filepath.Join(folder, name)
}

var errOthers = errors.New("others may write here")

func compile(folder string) (_ *Parser, err error) {
	ctx := context.Background()
	c := wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2 | experimental.CoreFeaturesThreads).WithDebugInfoEnabled(false)
	if folder != "" {
		kept, err := wazero.NewCompilationCacheWithDir(folder)
		if err != nil {
			return nil, err
		}
		c = c.WithCompilationCache(kept)
	}
	p := &Parser{runtime: wazero.NewRuntimeWithConfig(ctx, c)}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, p.runtime); err != nil {
		return nil, err
	}
	if err := instantiateHost(ctx, p.runtime); err != nil {
		return nil, err
	}
	p.code, err = p.runtime.CompileModule(ctx, program)
	return p, err
}

// Close ends the parser and all of its instances. Nothing may be parsed any more.
func (p *Parser) Close() error { return p.runtime.Close(context.Background()) }

// Parse gives the tree of a text, a pg_query.ParseResult in protobuf, or an *Error where it is not PostgreSQL's language. Any other
// error is the parser's own.
func (p *Parser) Parse(text string) (tree []byte, err error) {
	if strings.Contains(text, "\x00") { // it would end there
		return nil, &Error{Message: "invalid byte sequence for encoding \"UTF8\": 0x00"}
	}
	i, err := p.take()
	if err != nil {
		return nil, err
	}
	defer func() {
		if v := recover(); v != nil {
			tree, err = nil, fmt.Errorf("the parser failed: %v", v)
		}
		var said *Error
		if err != nil && !errors.As(err, &said) { // nobody knows what state it is in
			err = errors.Join(err, i.module.Close(context.Background()))
			return
		}
		p.give(i)
	}()
	return i.parse(text)
}

func (p *Parser) take() (*instance, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		i := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return i, nil
	}
	return p.instantiate()
}

func (p *Parser) give(i *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, i)
}

// instance is the program at work. One goroutine uses it.
type instance struct {
	module                    api.Module
	memory                    api.Memory
	malloc, free, read, clear api.Function
}

func (p *Parser) instantiate() (*instance, error) {
	ctx := experimental.WithMemoryAllocator(context.Background(), allocator.NewNonMoving()) // its memory is shared, and must not move
	m, err := p.runtime.InstantiateModule(ctx, p.code, wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize"))
	if err != nil {
		return nil, fmt.Errorf("starting the parser: %w", err)
	}
	i := &instance{module: m, memory: m.Memory(), malloc: m.ExportedFunction("malloc"), free: m.ExportedFunction("free"),
		read: m.ExportedFunction("pg_query_parse_protobuf"), clear: m.ExportedFunction("pg_query_free_protobuf_parse_result")}
	if _, err := m.ExportedFunction("pg_query_init").Call(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the parser: %w", err), m.Close(ctx))
	}
	return i, nil
}

// The structs of pg_query.h that it gives back, of 32 bits: PgQueryProtobufParseResult{{size_t len; char *data}; char *stderr;
// PgQueryError *error}, and PgQueryError{char *message, *funcname, *filename; int lineno, cursorpos; …}.
const (
	resultBytes   = 16
	resultError   = 12
	errorFunction = 4
	errorCursor   = 16
)

func (i *instance) parse(text string) ([]byte, error) {
	ctx := withJumps(context.Background())
	call := func(f api.Function, args ...uint64) (uint32, error) {
		r, err := f.Call(ctx, args...)
		if err != nil {
			return 0, fmt.Errorf("the parser failed: %w", err)
		}
		if len(r) == 0 {
			return 0, nil
		}
		return uint32(r[0]), nil
	}
	in, err := call(i.malloc, uint64(len(text))+1)
	if err != nil {
		return nil, err
	}
	result, err := call(i.malloc, resultBytes)
	if err != nil {
		return nil, err
	}
	if in == 0 || result == 0 || !i.memory.WriteString(in, text) || !i.memory.WriteByte(in+uint32(len(text)), 0) {
		return nil, errMemory
	}
	if _, err := call(i.read, uint64(result), uint64(in)); err != nil {
		return nil, err
	}
	tree, err := i.result(result)
	var said *Error
	if err != nil && !errors.As(err, &said) {
		return nil, err
	}
	if _, err := call(i.clear, uint64(result)); err != nil {
		return nil, err
	}
	for _, at := range []uint32{result, in} {
		if _, err := call(i.free, uint64(at)); err != nil {
			return nil, err
		}
	}
	return tree, err
}

// result is a copy of what stands at an address.
func (i *instance) result(at uint32) ([]byte, error) {
	size, ok1 := i.memory.ReadUint32Le(at)
	data, ok2 := i.memory.ReadUint32Le(at + 4)
	failed, ok3 := i.memory.ReadUint32Le(at + resultError)
	if !ok1 || !ok2 || !ok3 {
		return nil, errMemory
	}
	if failed != 0 {
		return nil, i.error(failed)
	}
	tree, ok := i.memory.Read(data, size)
	if !ok {
		return nil, errMemory
	}
	return bytes.Clone(tree), nil
}

func (i *instance) error(at uint32) error {
	message, ok1 := i.text(at)
	function, ok2 := i.text(at + errorFunction)
	cursor, ok3 := i.memory.ReadUint32Le(at + errorCursor)
	if !ok1 || !ok2 || !ok3 {
		return errMemory
	}
	return &Error{Message: message, Position: int(int32(cursor)), Function: function}
}

// maxText bounds what the parser says of a text, which may repeat a part of it.
const maxText = 64 << 10

// text is what the pointer at an address points to.
func (i *instance) text(at uint32) (string, bool) {
	from, ok := i.memory.ReadUint32Le(at)
	if !ok || from >= i.memory.Size() {
		return "", false
	}
	b, ok := i.memory.Read(from, min(maxText, i.memory.Size()-from))
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b), ok
}
