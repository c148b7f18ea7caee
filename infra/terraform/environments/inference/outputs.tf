output "nodes" {
  description = "By session: id and address."
  value       = { for name, node in module.node : name => { id = node.id, address = node.address } }
}

output "pools" {
  description = "By session: the group whose capacity is moved."
  value       = { for name, pool in module.pool : name => pool.group }
}

output "machines" {
  description = "Where machines of this environment go: for those that `%gpu start` rents beside these."
  value       = module.environment.machines
}
