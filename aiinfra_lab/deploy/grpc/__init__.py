"""The Open Inference Protocol over gRPC, in a process beside an endpoint; the package grpcio is the extra `grpc`."""
