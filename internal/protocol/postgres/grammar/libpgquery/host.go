package libpgquery

import (
	"context"
	"errors"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// hostModule is what the program asks of its host beside WASI: C's setjmp and longjmp, by which the parser leaves at an error,
// as WASIX has them (https://wasix.org), and threads, of which it makes none.
const hostModule = "wasix_32v1"

var errMemory = errors.New("an address is not in the parser's memory")

func instantiateHost(ctx context.Context, r wazero.Runtime) error {
	b := r.NewHostModuleBuilder(hostModule)
	export := func(name string, f api.GoModuleFunc, params, results []api.ValueType) {
		b.NewFunctionBuilder().WithGoModuleFunction(f, params, results).Export(name)
	}
	const i32, i64 = api.ValueTypeI32, api.ValueTypeI64
	one, two, four := []api.ValueType{i32}, []api.ValueType{i32, i32}, []api.ValueType{i32, i32, i32, i32}
	export("stack_checkpoint", checkpoint, two, one)
	export("stack_restore", restore, []api.ValueType{i32, i64}, nil)
	export("proc_id", procID, one, one)
	export("callback_signal", never("callback_signal"), two, nil)
	export("futex_wait", never("futex_wait"), four, one)
	export("futex_wake", never("futex_wake"), two, one)
	export("futex_wake_all", never("futex_wake_all"), two, one)
	export("thread_exit", never("thread_exit"), one, nil)
	export("thread_signal", never("thread_signal"), two, one)
	_, err := b.Instantiate(ctx)
	return err
}

// never is a function that the program has no reason to call: it ends the instance.
func never(name string) api.GoModuleFunc {
	return func(context.Context, api.Module, []uint64) { panic(errors.New("the parser called " + name)) }
}

func procID(_ context.Context, m api.Module, stack []uint64) {
	if !m.Memory().WriteUint32Le(uint32(stack[0]), 1) {
		panic(errMemory)
	}
	stack[0] = 0
}

// jumps are the places to which one call can return, as setjmp made them.
type jumps struct{ to []jump }

type jump struct {
	snapshot  experimental.Snapshot
	result    uint32 // where setjmp's result is
	stack     []byte // C's own stack, which is in the memory
	stackFrom uint32
}

type jumpsKey struct{}

// withJumps is the context of one call.
func withJumps(ctx context.Context) context.Context {
	return context.WithValue(experimental.WithSnapshotter(ctx), jumpsKey{}, &jumps{})
}

// checkpoint is setjmp: (snapshot *struct{id uint64; …}, result *uint64) → error code.
func checkpoint(ctx context.Context, m api.Module, stack []uint64) {
	at, result := uint32(stack[0]), uint32(stack[1])
	all := ctx.Value(jumpsKey{}).(*jumps)
	from, top := uint32(m.ExportedGlobal("__stack_pointer").Get()), uint32(m.ExportedGlobal("__heap_base").Get())
	view, ok := m.Memory().Read(from, top-from)
	if !ok || !m.Memory().WriteUint64Le(at, uint64(len(all.to))) || !m.Memory().WriteUint64Le(result, 0) {
		panic(errMemory)
	}
	all.to = append(all.to, jump{snapshot: experimental.GetSnapshotter(ctx).Snapshot(), result: result, stack: append([]byte(nil), view...), stackFrom: from})
	stack[0] = 0
}

// restore is longjmp: (snapshot *struct{id uint64; …}, result uint64).
func restore(ctx context.Context, m api.Module, stack []uint64) {
	id, ok := m.Memory().ReadUint64Le(uint32(stack[0]))
	all := ctx.Value(jumpsKey{}).(*jumps)
	if !ok || id >= uint64(len(all.to)) {
		panic(errMemory)
	}
	j := all.to[id]
	m.ExportedGlobal("__stack_pointer").(api.MutableGlobal).Set(uint64(j.stackFrom))
	if !m.Memory().Write(j.stackFrom, j.stack) || !m.Memory().WriteUint64Le(j.result, stack[1]) {
		panic(errMemory)
	}
	stack[0] = 0
	j.snapshot.Restore(stack[:1])
}
