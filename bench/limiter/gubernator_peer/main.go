// gubernator, the Go library that its server is made of, as one node that owns every key.
// Its own program wants peers from a discovery service before it answers; here the node is told that it is alone.
// Usage: gubernator_peer GRPC_ADDRESS HTTP_ADDRESS
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/gubernator-io/gubernator/v2"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	daemon, err := gubernator.SpawnDaemon(ctx, gubernator.DaemonConfig{
		GRPCListenAddress: os.Args[1],
		HTTPListenAddress: os.Args[2],
		AdvertiseAddress:  os.Args[1],
		CacheSize:         1_000_000, // as many keys as a rule of ours keeps in a process
		PeerDiscoveryType: "none",
	})
	if err != nil {
		log.Fatal(err)
	}
	daemon.SetPeers([]gubernator.PeerInfo{{GRPCAddress: os.Args[1], HTTPAddress: os.Args[2], IsOwner: true}})
	<-ctx.Done()
	daemon.Close()
}
