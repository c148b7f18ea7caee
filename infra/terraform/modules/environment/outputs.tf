output "machines" {
  description = "What a machine of this environment is put into; for gpu-node and gpu-pool."
  value = {
    name             = var.name
    subnets          = { for zone, subnet in aws_subnet.this : zone => subnet.id }
    security_group   = aws_security_group.this.id
    instance_profile = aws_iam_instance_profile.host.name
  }
}
