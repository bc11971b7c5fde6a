package ruleset

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// The kernel tells the elements of one set at a time, and looks for the set among all of them for each datagram: of
// many small sets, asking costs more than all that is done with the answers. So the elements of the next sets are asked
// for while those of the ones before are sent; several sets at a time, since to wake a goroutine for each costs as much
// again.
const (
	// elementSockets carry such questions at the same time.
	elementSockets = 2
	// setsAtOnce is how many sets are asked for together.
	setsAtOnce = 8
	// batchesAhead is how many such batches may be on their way.
	batchesAhead = 2 * elementSockets
	// partsAhead is how many parts of a batch may wait to be sent.
	partsAhead = 2
)

// setStream sends sets in the kernel's order, each with its elements behind it. The goroutines that fetch those end
// with ctx.
type setStream struct {
	dump        *Dump
	ctx         context.Context
	queues      []chan *setBatch // one a socket
	running     sync.WaitGroup
	next        []askedSet  // of the next batch
	pending     []*setBatch // oldest first
	batches     int         // in all
	interrupted bool
}

// setBatch is some sets on their way.
type setBatch struct {
	sets  []askedSet
	parts chan setPart // closed behind the last one
}

// askedSet is a set whose elements are to be fetched.
type askedSet struct {
	row   *registry.NftSet
	ref   nft.Ref
	chunk elementChunk
}

// setPart is what is to be sent next of a batch, and how fetching it ended.
type setPart struct {
	items       []registry.NftItem
	interrupted bool
	err         error
	panicked    string // what the goroutine panicked with, and where
}

// sets sends each set with its elements behind it.
func (d *Dump) sets(ctx context.Context) (interrupted bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &setStream{dump: d, ctx: ctx}
	defer s.end()
	defer cancel()
	flagged, err := wire.Each(d.conn.Sets(ctx, d.filter), s.add)
	if err == nil {
		err = s.ask()
	}
	for err == nil && len(s.pending) > 0 {
		err = s.sendOldest()
	}
	return s.interrupted || flagged, err
}

// add has one more set sent.
func (s *setStream) add(set *nft.Set) error {
	s.next = append(s.next, askedSet{row: s.dump.row.setOf(set), ref: set.Ref(), chunk: elementsOf(set)})
	if len(s.next) < setsAtOnce {
		return nil
	}
	if len(s.pending) == batchesAhead {
		if err := s.sendOldest(); err != nil {
			return err
		}
	}
	return s.ask()
}

// ask has the next batch fetched. Batches go to the sockets in turn, and so to the same ones when the ruleset is read
// again: a buffer that was too small has grown by then.
func (s *setStream) ask() error {
	if len(s.next) == 0 {
		return nil
	}
	i := s.batches % elementSockets
	if i == len(s.queues) {
		if err := s.begin(); err != nil {
			return err
		}
	}
	b := &setBatch{sets: s.next, parts: make(chan setPart, partsAhead)}
	s.next, s.pending, s.batches = nil, append(s.pending, b), s.batches+1
	s.queues[i] <- b // which has room for all that are pending
	return nil
}

// begin takes another socket into use.
func (s *setStream) begin() error {
	conn, err := s.dump.elementSocket(len(s.queues))
	if err != nil {
		return err
	}
	queue := make(chan *setBatch, batchesAhead)
	s.queues = append(s.queues, queue)
	s.running.Go(func() {
		for b := range queue {
			f := setFetch{ctx: s.ctx, conn: conn, batch: b}
			f.run()
		}
	})
	return nil
}

// end waits until nothing is being fetched any more.
func (s *setStream) end() {
	for _, queue := range s.queues {
		close(queue)
	}
	s.running.Wait()
}

// sendOldest sends the batch that was asked for first.
func (s *setStream) sendOldest() error {
	b := s.pending[0]
	s.pending = s.pending[1:]
	for part := range b.parts {
		if part.panicked != "" {
			panic(part.panicked)
		}
		for i := range part.items {
			if err := s.dump.out.Send(&part.items[i]); err != nil {
				return err
			}
			if list := part.items[i].Elements; list != nil {
				giveBack(list.Elements)
			}
		}
		s.interrupted = s.interrupted || part.interrupted
		if part.err != nil {
			return part.err
		}
	}
	return s.ctx.Err()
}

// setFetch fetches one batch.
type setFetch struct {
	ctx   context.Context
	conn  *nft.Conn
	batch *setBatch
	part  setPart // that is being made
}

func (f *setFetch) run() {
	defer close(f.batch.parts)
	defer func() {
		if v := recover(); v != nil {
			f.part = setPart{panicked: fmt.Sprintf("%v\n\n%s", v, debug.Stack())}
			_ = f.pass()
		}
	}()
	for i := range f.batch.sets {
		if f.part.err = f.set(&f.batch.sets[i]); f.part.err != nil {
			break
		}
	}
	_ = f.pass()
}

func (f *setFetch) set(s *askedSet) error {
	f.part.items = append(f.part.items, registry.NftItem{Set: s.row})
	interrupted, err := wire.Each(f.conn.Elements(f.ctx, s.ref), func(e *nft.Element) error {
		s.chunk.add(e)
		if len(s.chunk.elements) < elementsAtOnce {
			return nil
		}
		f.take(s)
		return f.pass()
	})
	f.take(s)
	f.part.interrupted = f.part.interrupted || interrupted
	return err
}

// take adds the elements that were gathered.
func (f *setFetch) take(s *askedSet) {
	if list := s.chunk.take(); list != nil {
		f.part.items = append(f.part.items, registry.NftItem{
			Elements: &registry.NftElements{Family: s.row.Family, Table: s.row.Table, Set: s.row.Name, Elements: list},
		})
	}
}

// pass hands over what there is.
func (f *setFetch) pass() error {
	select {
	case f.batch.parts <- f.part:
		f.part = setPart{}
		return nil
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
}
